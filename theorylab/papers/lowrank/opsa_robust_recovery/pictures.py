"""Robust principal component analysis on pictures: a clip that is drawn here, and a photograph."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._races import HERE, TRIALS

BACKGROUND_RANK = 2  # a scene times the light of its time, and a glow that drifts in
DECAY = 0.97  # where steps of 0.95 fall faster than errors can, runs were seen to stop early
HIT = 0.15  # the share of the photograph's pixels that become black or white
BRIGHT, DARK, PALE = 0.97, 0.02, 0.85  # balloon, bird, car
OF = ["clip", "picture"]
CONTRAST = 0.2  # each of them is further than this from every grey that it covers


def clip(height, width, frames) -> Any:
    """A landscape in changing light, and what moves through it: frames (t, h, w), background, and a mask."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1.5, width), indexing="ij")
    scene = 0.62 - 0.35 * y
    scene += 0.12 * np.exp(-((x - 1.15) ** 2 + (y - 0.2) ** 2) / 0.02)
    far, near = 0.55 + 0.07 * np.sin(5 * x) + 0.03 * np.sin(13 * x), 0.78 + 0.05 * np.sin(4 * x + 2)
    scene = np.where(y > far, 0.26 + 0.10 * (y - far) + 0.03 * np.sin(40 * x + 25 * y), scene)
    scene = np.where(y > near, 0.15 + 0.04 * np.sin(60 * x) * np.sin(70 * y), scene)
    glow = np.exp(-2 * x) * (1 - 0.6 * y)
    time = np.linspace(0, 1, frames)[:, None, None]
    background = scene * (1 + 0.3 * np.sin(2 * np.pi * time)) + 0.15 * time * glow
    balloon = np.hypot(x - 0.15 - 1.2 * time, y - 0.32 + 0.12 * time) < 0.10
    bird = np.hypot((x - 1.4 + 1.3 * time) / 2, y - 0.48 - 0.05 * np.sin(12 * time)) < 0.03
    car = (np.abs(x - 1.6 * time + 0.05) < 0.07) & (np.abs(y - 0.86) < 0.04)
    seen = np.where(car, PALE, background)
    seen = np.where(balloon, BRIGHT, seen)
    return np.where(bird, DARK, seen), background, balloon | bird | car


def photograph(shrink) -> Any:
    """The grey photograph of a Chinese temple that comes with scikit-learn, pixels averaged in squares, in [0, 1]."""
    from sklearn.datasets import load_sample_image

    grey = load_sample_image("china.jpg").mean(2) / 255
    rows, columns = (size // shrink for size in grey.shape)
    return grey[: rows * shrink, : columns * shrink].reshape(rows, shrink, columns, shrink).mean((1, 3))


def recover(observed, truths, rank, steps) -> Any:
    """The low-rank parts of pictures of one size, stacked, and the truncated decompositions that they start from, with
    errors by step, and the first step's size, relative to the norm of the truth."""
    operator, starts = lowrank.IdentitySensing(observed[0].shape), []
    for one in observed:
        # nothing is left out of this start, for what is bright need not be wrong
        start = lowrank.truncated_spectral_init(lowrank.SensingProblem(operator, one.ravel()), rank, outliers=0.0)
        starts.append([np.asarray(factor) for factor in start])

    def build(key, *, case):
        seen, truth, start = case
        # these steps know nothing of the truth, nor of the loss at it, which Polyak's would need
        method = lowrank.PreconditionedSubgradient(1e-3, "geometric", DECAY)
        return method, lowrank.SensingProblem(operator, seen.reshape(-1), solution=truth), start

    errors = tl.Record(tl.every(10), error=lambda problem, state: problem.error(state.x))
    first = tl.Record(tl.at([0]), first=lambda problem, state: state.scale / (problem.solution**2).sum() ** 0.5)
    starts = tuple(map(np.stack, zip(*starts, strict=True)))
    cases = tl.Cases((np.stack(observed), np.stack(truths), starts))
    runs = tl.sweep(build, over={"case": cases}, key=0, steps=steps, record=[errors, first])
    runs = runs.isel(seed=0, step_2=0, drop=True)
    ends = runs["value.0"].values, runs["value.1"].values
    found, truncated = (np.einsum("cik,cjk->cij", *factors) for factors in (ends, starts))
    return runs, found, truncated


def run_pictures(setting, key):
    import xarray

    (height, width, frames), shrink, rank, steps = setting
    seen, background, moving = clip(height, width, frames)
    columns, truth = (one.reshape(frames, -1).T for one in (seen, background))
    clip_runs, found, truncated = recover([columns], [truth], BACKGROUND_RANK, steps)

    grey = photograph(shrink)
    rng = tl.keys.generator(key)
    hit, salt = rng.random(grey.shape) < HIT, rng.integers(0, 2, grey.shape)
    U, values, Vt = np.linalg.svd(grey, full_matrices=False)
    best = (U[:, :rank] * values[:rank]) @ Vt[:rank]
    # the photograph has no low rank: whether a truth of low rank is found is one question, how far it is mended another
    corrupted = np.where(hit, salt, [best, grey])
    runs, (_, recovered), (_, smeared) = recover(corrupted, [best, best], rank, steps)

    film, picture = ("frame", "y", "x"), ("row", "column")
    films = {"seen": seen, "background": found[0].T.reshape(seen.shape), "moving": moving,
             "truncated": truncated[0].T.reshape(seen.shape)}  # fmt: skip
    pictures = {"photograph": grey, "best": best, "corrupted": corrupted[1], "recovered": recovered, "smeared": smeared}
    errors = xarray.concat([one[["error", "first"]].isel(case=0) for one in (clip_runs, runs)], "of")
    return xarray.Dataset({name: (film, one) for name, one in films.items()}
                          | {name: (picture, one) for name, one in pictures.items()}
                          | {"width": rank}).merge(errors.drop_vars("case").assign_coords(of=OF))  # fmt: skip


def foreground(dataset, background) -> Any:
    """What a background does not explain, by more than half the least contrast of what moves."""
    return np.abs(dataset.seen - dataset[background]) > CONTRAST / 2


def f1(dataset, background) -> Any:
    found = foreground(dataset, background)
    return 2 * (found & dataset.moving).sum() / (found.sum() + dataset.moving.sum())


def distance(dataset, picture, truth) -> Any:
    return np.sqrt(((dataset[picture] - dataset[truth]) ** 2).sum() / (dataset[truth] ** 2).sum())


def plot_pictures(dataset):
    from matplotlib.figure import Figure

    films = {
        "frame": dataset.seen,
        "background": dataset.background,
        "what moves": dataset.seen.where(foreground(dataset, "background")),
        "by truncated SVD": dataset.seen.where(foreground(dataset, "truncated")),
    }
    pictures = {
        "corrupted": f"photograph, {HIT:.0%} of its pixels lost",
        "recovered": f"recovered part of rank {int(dataset.width)}",
        "smeared": "truncated SVD of that rank",
        "best": "the same of the clean photograph",
    }
    wide, sizes = 12.0, dataset.sizes
    heights = [wide * sizes["y"] / sizes["x"] + 0.5, wide * sizes["row"] / sizes["column"] + 1.0]
    figure = Figure(figsize=(wide, sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = parts
    for row, (name, film) in zip(upper.subplots(4, 4), films.items(), strict=True):
        for panel, moment in zip(row, (0.15, 0.4, 0.6, 0.85), strict=True):
            show(panel, film.isel(frame=int(moment * sizes["frame"])))
        row[0].set_ylabel(name)
    for panel, (name, title) in zip(np.ravel(lower.subplots(2, 2)), pictures.items(), strict=True):
        show(panel, dataset[name])
        panel.set_title(f"{title}: off by {float(distance(dataset, name, 'photograph')):.3f}")
    return figure


def show(panel, picture) -> None:
    from matplotlib import colormaps

    panel.imshow(picture, cmap=colormaps["gray"].with_extremes(bad="#8fb8d8"), vmin=0, vmax=1, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def end(of):
    return lambda dataset: dataset.error.sel(of=of).isel(step=-1)


def lateness(dataset):
    """The errors of the second half, over what the steps to come can move, for clip and picture of low rank.

    A step of size eta moves the factors by that, in the metric of the preconditioner, and the product by sqrt(2) eta at
    most; the sizes to come sum to eta / (1 - q). A run that comes to the truth is no further from it.
    """
    late = dataset.isel(step=slice(dataset.sizes["step"] // 2, None))
    return late.error / (late.first * np.sqrt(2) / (1 - DECAY) * DECAY**late.step)


def mended(dataset):
    """The mean square error by row of pixels, less that of the truncated decomposition."""
    squares = [((dataset[name] - dataset.photograph) ** 2).mean("column") for name in ("recovered", "smeared")]
    return squares[0] - squares[1]


F1 = "F1 score of the pixels that move"
PICTURES = Experiment(
    "pictures", "a clip and a photograph, both corrupted", run=run_pictures, plot=plot_pictures,
    sizes={"small": ((36, 54, 40), 4, 10, 240), "paper": ((72, 108, 120), 2, 20, 300),
           "large": ((144, 216, 240), 1, 40, 400)},
    seconds={"small": 13.2, "paper": 7.0},
    claims=(
        Claim("clip", "The background of a clip is found to three digits.", TRIALS,
              kit.bounded(end("clip"), "<=", 1e-3, quantity="relative error of the background at the end")),
        Claim("foreground", "Then what moves is found pixel by pixel.", TRIALS,
              kit.bounded(lambda dataset: f1(dataset, "background"), "==", 1.0, quantity=F1)),
        Claim("ghosts", "So it is from a truncated decomposition of the frames.", HERE,
              kit.bounded(lambda dataset: f1(dataset, "truncated"), ">=", 1.0, quantity=F1), expected="fails",
              why="least squares spreads what moves over the background"),
        Claim("schedule", "Errors fall as the geometric steps do: they are within what the steps to come can move.",
              HERE, kit.bounded(lateness, "<=", 1.0,
                                quantity="largest late error, over what the steps to come can move")),
        Claim("photograph_exact", "A picture of low rank with a seventh of its pixels black or white is recovered to"
              " three digits.", HERE,
              kit.bounded(end("picture"), "<=", 1e-3, quantity="relative error of the picture at the end")),
        Claim("photograph", "The photograph itself, which is not of low rank, is mended: it comes out nearer to the"
              " truth than from a truncated decomposition.", HERE,
              kit.estimated(mended, "<=", over="row", quantity="mean square error of a pixel less that of a truncated"
                            " decomposition, white = 1")),
    ),
)  # fmt: skip
