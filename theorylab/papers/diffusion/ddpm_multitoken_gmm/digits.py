"""Digits of which one is rare, learnt by a small diffusion transformer: the rare one is the last to look right."""

from typing import Any, NamedTuple

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._setup import HERE

CLASSES, RARE, KEPT = 4, 2, 0.3
FEATURES = 8  # principal components, in which images are compared
ROWS = 2  # models of each run


class Setting(NamedTuple):
    """A transformer, its training and its samples."""

    steps: int
    batch: int
    width: int
    depth: int
    count: int
    runs: int
    rate: float
    mnist: bool = False


def pictures(mnist) -> Any:
    """Digits below four as (n, 1, side, side) in [-1, 1], and their labels; MNIST at its half resolution."""
    if mnist:
        from theorylab.data import mnist as load

        data = load()
        x, y = data.train_images / 255.0, data.train_labels
        x = np.pad(x, ((0, 0), (2, 2), (2, 2))).reshape(-1, 16, 2, 16, 2).mean((2, 4))
    else:
        from sklearn.datasets import load_digits

        data: Any = load_digits()
        x, y = data.images / 16, data.target
    kept = y < CLASSES
    return (2 * x[kept, None] - 1).astype(np.float32), y[kept].astype(int)


def run(setting, key):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    import xarray
    from jax.flatten_util import ravel_pytree

    rng, (x, y), count, batch = tl.keys.generator(key), pictures(setting.mnist), setting.count, setting.batch
    shape, schedule = x.shape[1:], diffusion.Schedule.linear_alpha(0.99, 0.85, 50)
    model = blank(rng, lambda key: diffusion.DiT(shape, patch=2, width=setting.width, depth=setting.depth, heads=4,
                                                 key=key))  # fmt: skip
    arrays, rest = eqx.partition(model, eqx.is_array)
    first, unravel = ravel_pytree(arrays)  # one leaf, whose program compiles in half the time

    def denoiser(vector):
        return eqx.combine(unravel(vector), rest)

    @jax.jit  # traced once, though the engine asks for it four times
    def loss(vector, data, key):
        # one draw for everything, and no blocks: two programs of this size would take twice as long to compile
        drawn = diffusion.counter_normal(key, (batch, 2 + x[0].size))
        lots, noise = 8 * drawn[:, :2] % 1, drawn[:, 2:].reshape(batch, *shape)  # uniform, to far below rounding
        row, t = (lots[:, 0] * len(data)).astype(int), (lots[:, 1] * schedule.levels).astype(jnp.int32)
        return diffusion.denoising_loss(denoiser(vector), data[row], schedule, t=t, noise=noise,
                                        parametrisation="v", block=None)  # fmt: skip

    class Pictures(eqx.Module):
        data: jax.Array

        def loss(self, x, key):
            return loss(x, self.data, key)

    method = diffusion.Averaged(tl.Gradient(optax.adam, learning_rate=setting.rate), 0.98)
    record = tl.Record(tl.every(setting.steps // ROWS), x=lambda problem, state: state.average)

    @jax.jit
    def train(data, key):
        return tl.solve(method, Pictures(data), first, key=key, steps=setting.steps, record=record).trace.x[1:]

    @jax.jit
    def generate(vectors, start):
        return jax.lax.map(lambda vector: diffusion.sample_ddim(denoiser(vector), schedule, start, steps=12,
                                                                parametrisation="v"), vectors)  # fmt: skip

    made = []
    for seed in range(setting.runs):
        kept, rare = y != RARE, np.flatnonzero(y == RARE)
        kept[rng.choice(rare, round(KEPT * len(rare)), replace=False)] = True
        vectors = train(jnp.asarray(x[kept]), tl.keys.stream(key, f"train {seed}"))
        made.append(np.asarray(generate(vectors, rng.standard_normal((count, *shape), np.float32))))
    made = np.stack(made)

    flat, classes = x.reshape(len(x), -1), np.arange(CLASSES)
    center = flat.mean(0)
    axes = np.linalg.svd(flat - center, full_matrices=False)[2][:FEATURES].T  # the principal ones
    features, found = (flat - center) @ axes, (made.reshape(*made.shape[:3], -1) - center) @ axes
    real = [features[y == k] for k in classes]
    label = ((found[..., None, :] - np.stack([one.mean(0) for one in real])) ** 2).sum(-1).argmin(-1)
    frechet = jax.jit(diffusion.gaussian_wasserstein)

    def distances(found, label):
        # as many of each digit, first and last: their number biases a distance
        few = max(2, min(np.min(np.bincount(one, minlength=CLASSES)) for one in label))
        return [[frechet(*moments(one[which == k][:few]), *moments(real[k])) for k in classes]
                for one, which in zip(found, label, strict=True)]  # fmt: skip

    dims = ("seed", "step", "digit")
    each = [distances(*one) for one in zip(found, label, strict=True)]
    return xarray.Dataset(
        {
            "distance": (dims, np.asarray(each, float)),
            "share": (dims, (label[..., None] == classes).mean(2)),
            "images": (("seed", "step", "image", "row", "column"), made[:, :, :100, 0]),
            "count": count,
            "trained_share": ("digit", np.where(classes == RARE, KEPT, 1.0) / (CLASSES - 1 + KEPT)),
        },
        {"step": setting.steps // ROWS * np.arange(1, ROWS + 1), "digit": classes},
    )


def blank(rng, build) -> Any:
    """A model as `build` makes it, drawn by NumPy: the draws of JAX take as long to compile as training."""
    import equinox as eqx
    import jax

    def fill(path, leaf):
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        closed = any(name in jax.tree_util.keystr(path) for name in ("modulation", "readout"))
        drawn = np.zeros(leaf.shape) if closed else rng.uniform(-1, 1, leaf.shape) / np.sqrt(leaf.shape[-1])
        return drawn.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, eqx.filter_eval_shape(build, jax.random.key(0)))


def moments(values) -> Any:
    """Mean and covariance, for one program whatever the number of images."""
    return values.mean(0).astype(np.float32), np.cov(values.T).astype(np.float32)


def plot(dataset):
    figure, axes = figures.panels(3)
    kit.curves(axes[0], dataset, "distance", by="digit", marker="o", title="Fréchet distance to each digit",
               labels=lambda digit: f"{digit}" + (f" (kept {KEPT:.0%})" if digit == RARE else ""))  # fmt: skip
    axes[0].set(xlabel="step of Adam", xticks=dataset.step.values)
    for digit, colour in zip(dataset.digit.values, figures.COLOURS, strict=False):
        axes[1].plot(digit, dataset.share.sel(digit=digit).isel(step=-1).mean("seed"), "o", color=colour)
    axes[1].plot(dataset.digit, dataset.trained_share, "x", color="black", markersize=9, label="in the training data")
    axes[1].set(title="share among the images", xticks=dataset.digit.values, xlabel="digit", ylim=(0, None))
    tiles = dataset.images.isel(seed=0, step=-1, image=slice(0, 40)).values
    tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    rows, side = 5, tiles.shape[-1]
    wall = tiles.reshape(rows, -1, side, side).transpose(0, 2, 1, 3).reshape(rows * side, -1)
    axes[2].imshow(wall, cmap="gray_r", vmin=-1, vmax=1)
    axes[2].set(title="generated", xticks=[], yticks=[])
    axes[2].grid(False)
    figures.legend(axes[:2])
    return figure


def rare_over_others(dataset):
    """Log of the rare digit's distance at the end over that at first, less the mean of the others'."""
    fall = np.log(dataset.distance.isel(step=-1) / dataset.distance.isel(step=0))
    return fall.sel(digit=RARE) - fall.drop_sel(digit=RARE).mean("digit")


def rare_share(dataset):
    """The share of the rare digit among the final images, less that of each other one: of a multinomial draw."""
    share = dataset.share.isel(step=-1).mean("seed")
    rare, others = share.sel(digit=RARE, drop=True), share.drop_sel(digit=RARE)
    variance = (rare + others - (rare - others) ** 2) / (dataset["count"] * dataset.sizes["seed"])
    return Estimate(rare - others, variance**0.5)


DIGITS = Experiment(
    "digits", "digits of which one is rare",
    sizes={"small": Setting(600, 24, 32, 1, 400, 1, 6e-3), "paper": Setting(3000, 64, 64, 4, 400, 2, 2e-3),
           "large": Setting(40_000, 256, 192, 6, 10_000, 8, 5e-4, mnist=True)},
    run=run, plot=plot, seconds={"small": 7.9, "paper": 327.0},
    claims=(
        Claim("rare_slowest", "The rare digit's distance to real ones falls slowest.",
              "MNIST experiment, as an ordering",
              kit.estimated(rare_over_others, ">=", quantity="log of the fall of the distance to real digits, the rare"
                            " one less the others"), expected="undecided",
              why="the spread between runs is as large as the difference, and a small run is a single one"),
        Claim("rare_share", "The rare digit is drawn less often than every other one.", HERE,
              kit.estimated(rare_share, "<=", quantity="share of the rare digit less that of another")),
    ),
)  # fmt: skip
