"""Digits of which one is rare, learnt by a small diffusion transformer: the rare one is the last to look right."""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
from theorylab.papers import Verdict, mean_and_error

CLASSES, RARE, KEPT = 4, 2, 0.3
FEATURES = 8  # principal components, in which images are compared
ROWS = 2  # models of each run


def pictures(size, rng) -> Any:
    """Digits below four as (n, 1, side, side) in [-1, 1], and their labels; MNIST at its half resolution."""
    if size == "large":
        from theorylab.data import mnist

        data = mnist()
        x, y = data.train_images / 255.0, data.train_labels
        x = np.pad(x, ((0, 0), (2, 2), (2, 2))).reshape(-1, 16, 2, 16, 2).mean((2, 4))
    else:
        from sklearn.datasets import load_digits

        data: Any = load_digits()
        x, y = data.images / 16, data.target
    kept = y < CLASSES
    return (2 * x[kept, None] - 1).astype(np.float32), y[kept].astype(int)


def run_digits(size, key):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    import xarray

    steps, batch, width, depth, count, seeds, rate = {
        "small": (600, 24, 32, 1, 400, 1, 6e-3), "paper": (3000, 64, 64, 4, 400, 2, 2e-3),
        "large": (40_000, 256, 192, 6, 10_000, 8, 5e-4)}[size]  # fmt: skip
    rng = tl.keys.generator(key)
    x, y = pictures(size, rng)
    shape, schedule = x.shape[1:], diffusion.Schedule.linear_alpha(0.99, 0.85, 50)
    model = blank(rng, lambda key: diffusion.DiT(shape, patch=2, width=width, depth=depth, heads=4, key=key))
    arrays, rest = eqx.partition(model, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    first = np.concatenate([leaf.ravel() for leaf in leaves])  # one leaf, whose program compiles in half the time
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def denoiser(vector):
        parts = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(vector, ends), leaves, strict=True)]
        return eqx.combine(jax.tree.unflatten(structure, parts), rest)

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

    method = diffusion.Averaged(tl.Gradient(optax.adam, learning_rate=rate), 0.98)
    record = tl.Record(tl.every(steps // ROWS), x=lambda problem, state: state.average)

    @jax.jit
    def train(data, key):
        return tl.solve(method, Pictures(data), first, key=key, steps=steps, record=record).trace.x[1:]

    @jax.jit
    def generate(vectors, start):
        return jax.lax.map(lambda vector: diffusion.sample_ddim(denoiser(vector), schedule, start, steps=12,
                                                                parametrisation="v"), vectors)  # fmt: skip

    center, axes = principal(x)
    features, classes = project(x, center, axes), np.arange(CLASSES)
    centres = np.stack([features[y == k].mean(0) for k in classes])
    frechet = jax.jit(diffusion.gaussian_wasserstein)
    shares, distances, images = [], [], []
    for seed in range(seeds):
        kept, rare = y != RARE, np.flatnonzero(y == RARE)
        kept[rng.choice(rare, round(KEPT * len(rare)), replace=False)] = True
        vectors = train(jnp.asarray(x[kept]), tl.keys.stream(key, f"train {seed}"))
        made = np.asarray(generate(vectors, rng.standard_normal((count, *shape), np.float32)))
        found = project(made.reshape(-1, *shape), center, axes).reshape(len(made), count, -1)
        label = ((found[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
        share = (label[..., None] == classes).mean(1)
        few = max(2, round(count * share.min()))  # as many of each digit: a distance is biased by their number
        images.append(made[:, :100])
        shares.append(share)
        distances.append([[frechet(*moments(one[which == k][:few]), *moments(features[y == k])) for k in classes]
                          for one, which in zip(found, label, strict=True)])  # fmt: skip
    dims = ("seed", "step", "digit")
    return xarray.Dataset(
        {
            "distance": (dims, np.asarray(distances, float)),
            "share": (dims, np.asarray(shares, float)),
            "images": (("seed", "step", "image", "row", "column"), np.asarray(images)[:, :, :, 0]),
            "count": count,
            "trained_share": ("digit", np.where(classes == RARE, KEPT, 1.0) / (CLASSES - 1 + KEPT)),
        },
        {"step": steps // ROWS * np.arange(1, ROWS + 1), "digit": classes},
    )


def principal(x) -> Any:
    """The mean of images and their principal axes."""
    flat = x.reshape(len(x), -1)
    return flat.mean(0), np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:FEATURES].T


def project(x, center, axes) -> Any:
    return (x.reshape(len(x), -1) - center) @ axes


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


def plot_digits(dataset):
    figure, axes = figures.panels(3)
    for digit, colour in zip(dataset.digit.values, figures.COLOURS, strict=False):
        one = dataset.sel(digit=digit)
        name = f"{digit}" + (f" (kept {KEPT:.0%})" if digit == RARE else "")
        figures.measured(axes[0], dataset.step, one.distance, color=colour, marker="o", label=name)
        axes[1].plot(digit, one.share.isel(step=-1).mean("seed"), "o", color=colour)
        axes[1].plot(digit, one.trained_share, "x", color="black", markersize=9)
    axes[0].set(yscale="log", title="Fréchet distance to each digit", xlabel="step of Adam", xticks=dataset.step.values)
    axes[1].set(title="share among the images", xticks=dataset.digit.values, xlabel="digit",
                ylim=(0, None))  # fmt: skip
    tiles = dataset.images.isel(seed=0, step=-1, image=slice(0, 40)).values
    tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    rows, side = 5, tiles.shape[-1]
    wall = tiles.reshape(rows, -1, side, side).transpose(0, 2, 1, 3).reshape(rows * side, -1)
    axes[2].imshow(wall, cmap="gray_r", vmin=-1, vmax=1)
    axes[2].set(title="generated", xticks=[], yticks=[])
    axes[2].grid(False)
    axes[1].plot([], [], "x", color="black", markersize=9, label="in the training data")
    figures.legend(axes[:2])
    return figure


def check_rare_slowest(dataset):
    """Log of the rare digit's distance at the end over that at first, less the mean of the others'."""
    one = np.log(dataset.distance.isel(step=-1) / dataset.distance.isel(step=0))
    mean, error = mean_and_error(one.sel(digit=RARE) - one.drop_sel(digit=RARE).mean("digit"))
    of = "log of the fall of the distance to real digits, the rare one less the others"
    return Verdict.estimate(mean, ">=", 0.0, error, draws=one.sizes["seed"], quantity=of)


def check_rare_share(dataset):
    """The share of the rare digit among the final images, less that of each other one."""
    one = dataset.share.isel(step=-1).mean("seed")
    rare, others = one.sel(digit=RARE), one.drop_sel(digit=RARE)
    error = np.sqrt((rare + others - (rare - others) ** 2) / (dataset["count"] * dataset.sizes["seed"]))
    return Verdict.worst(rare - others, "<=", 0.0, error, quantity="share of the rare digit less that of another")
