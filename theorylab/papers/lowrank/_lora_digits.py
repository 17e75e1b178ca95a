"""LoRA on the last layer of a network that has seen half of the classes: starts of several sizes on real pictures."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Verdict, mean_and_error

WIDTH, RANK = 32, 4
SCALES = (1.0, 0.3, 0.1, 0.025)  # standard deviations of A


def pictures(size, rng) -> Any:
    """Features, labels for training and for evaluation, of digits: those of scikit-learn, or MNIST."""
    if size == "large":
        from theorylab.data import mnist

        data = mnist()
        x, y, more, labels = data.train_images, data.train_labels, data.test_images, data.test_labels
        return x.reshape(len(x), -1)[:20_000] / 255, y[:20_000].astype(int), more.reshape(len(more), -1) / 255, labels
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = rng.permutation(len(y))
    train, test = order[:1200], order[1200:]
    return x[train] / 16, y[train], x[test] / 16, y[test]


def pretrained(x, y, seed) -> Any:
    """The hidden layer and the head of a network trained on the classes below five; the head's other rows are zero."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    old = y < 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # twenty passes are what is wanted
        network = MLPClassifier((WIDTH,), max_iter=20, random_state=seed).fit(x[old], y[old])
    (hidden, head), (shift, offset) = network.coefs_, network.intercepts_
    empty = np.zeros((5, WIDTH)), np.zeros(5)
    parts = np.concatenate([head.T, empty[0]]), np.concatenate([offset, empty[1]])
    return lambda pixels: np.maximum(pixels @ hidden + shift, 0), parts


def run_digits(size, key):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    from theorylab.engine.gradient import Objective

    seeds, steps = {"small": (16, 100), "paper": (30, 1000), "large": (30, 1000)}[size]
    rng = tl.keys.generator(key)
    x, y, x_test, y_test = pictures(size, rng)
    inside, (weight, bias) = pretrained(x, y, int(rng.integers(2**31)))
    # the last layer alone moves: its inputs are fixed
    train, test = (
        (jnp.asarray(inside(a[b >= 5]), float), jnp.asarray(b[b >= 5], int)) for a, b in ((x, y), (x_test, y_test))
    )
    blank = eqx.filter_eval_shape(eqx.nn.Linear, WIDTH, 10, key=key)
    layer: Any = eqx.tree_at(lambda one: (one.weight, one.bias), blank,
                             (jnp.asarray(weight, float), jnp.asarray(bias, float)))  # fmt: skip

    def loss(model, data):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(data[0]), data[1]))

    def tuned(pair, data):
        return loss(lowrank.lora.LoraLinear(layer, *pair), data)

    gradient = eqx.filter_jit(eqx.filter_grad(loss))(layer, train)
    left, _, right = np.linalg.svd(-np.asarray(gradient.weight), full_matrices=False)
    method = tl.Gradient(optax.adam, learning_rate=1e-2)

    def build(key, *, start, scale):
        spectral = lowrank.lorafy(layer, RANK, where=lambda m: m, gradient=gradient)
        standard = lowrank.lorafy(layer, RANK, where=lambda m: m, init="standard", key=key)
        # entries of one root mean square
        A = scale * WIDTH**0.5 * jnp.where(start == 0, standard.A, spectral.A)
        return method, Objective(tuned, (train,)), (A, jnp.zeros_like(standard.B))

    record = tl.Record(
        tl.every(10),
        train=lambda problem, state: tuned(state.x, train),
        test=lambda problem, state: tuned(state.x, test),
        A=lambda problem, state: state.x[0],
        B=lambda problem, state: state.x[1],
    )
    over = {"start": jnp.arange(2), "scale": jnp.asarray(SCALES)}
    dataset = tl.sweep(build, over=over, seeds=seeds, key=key, steps=steps, record=record)
    dims = ("start", "scale", "seed", "step")
    A, B = (dataset[name].transpose(*dims, ...).values for name in "AB")
    gap = lowrank.lora.misalignment(A, B, left[:, :RANK], right[:RANK].T)
    dataset = dataset[["train", "test"]].assign(misalignment=(dims, gap))
    return dataset.assign_coords(start=["standard", "spectral"], scale=list(SCALES))


def plot_digits(dataset):
    figure, axes = figures.panels(3)
    for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
        for start, style in (("standard", "-"), ("spectral", ":")):
            one = dataset.sel(scale=scale, start=start).transpose("seed", "step", ...)
            for panel, which in zip(axes, ("train", "test", "misalignment"), strict=True):
                name = rf"std of $A$ {scale:g}" if start == "standard" else ""
                figures.measured(panel, one.step, one[which], color=colour, linestyle=style, label=name)
    axes[0].plot([], [], ":", color="0.3", label="spectral start instead")
    titles = "training loss", "loss on new pictures", "misalignment"
    for panel, title in zip(axes, titles, strict=True):
        panel.set(xlabel="step of Adam", title=title)
    for panel in axes[:2]:
        panel.set(yscale="log", yticks=[0.2, 0.5, 1, 2], yticklabels=["0.2", "0.5", "1", "2"])
        panel.yaxis.set_minor_formatter("")
    axes[2].set_ylim(0, 1)
    figures.legend(axes)
    return figure


def check_smaller(which):
    """The mean log of the loss after a hundred steps, from the smallest standard start less that from the largest."""

    def check(dataset):
        runs = np.log(dataset[which].sel(start="standard", step=100))
        mean, error = mean_and_error(runs.isel(scale=-1) - runs.isel(scale=0))
        return Verdict.estimate(
            mean, "<=", 0.0, error, quantity="mean log of the loss of the smallest start over that of the largest"
        )

    return check


def check_aligns(dataset):
    """The misalignment of the smallest standard start after a hundred steps, less that at the start."""
    one = dataset.misalignment.sel(start="standard").isel(scale=-1)
    mean, error = mean_and_error(one.sel(step=100) - one.isel(step=0))
    return Verdict.estimate(mean, "<=", 0.0, error, quantity="mean change of the misalignment in a hundred steps")


def check_spectral(dataset):
    """Log of the training loss after a hundred steps, the mean over sizes: spectral starts less standard ones."""
    end = np.log(dataset.train.sel(step=100)).mean("scale")
    mean, error = mean_and_error(end.sel(start="spectral") - end.sel(start="standard"))
    return Verdict.estimate(
        mean, "<=", 0.0, error, quantity="mean log of the training loss of spectral starts over that of standard ones"
    )
