"""LoRA on the last layer of a network that has seen half of the classes: starts of several sizes on real pictures."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

WIDTH, RANK = 32, 4
SCALES = (1.0, 0.3, 0.1, 0.025)  # standard deviations of A


def pictures(digits, rng) -> Any:
    """Features, labels for training and for evaluation, of digits: those of scikit-learn, or MNIST."""
    if digits == "MNIST":
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


def run(setting, key):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    from theorylab.engine.gradient import Objective

    (digits, seeds, steps), rng = setting, tl.keys.generator(key)
    x, y, x_test, y_test = pictures(digits, rng)
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
    dataset = dataset[["train", "test", "status"]].assign(misalignment=(dims, gap))
    return dataset.assign_coords(start=["standard", "spectral"], scale=list(SCALES))


def panel(name, title) -> Any:
    def draw(axes, dataset):
        labels = r"std of $A$ {:g}".format
        for start, names, line in (("standard", labels, "-"), ("spectral", lambda _: "", ":")):
            kit.curves(axes, dataset.sel(start=start), name, by="scale", log="", labels=names, linestyle=line)
        axes.set(xlabel="step of Adam", title=title, ylim=(0, 1) if name == "misalignment" else None)
        if name == "train":
            axes.plot([], [], ":", color="0.3", label="spectral start instead")
        if name != "misalignment":
            axes.set(yscale="log", yticks=[0.2, 0.5, 1, 2], yticklabels=["0.2", "0.5", "1", "2"])
            axes.yaxis.set_minor_formatter("")

    return draw


def after_hundred(name) -> Any:
    """The log of a loss after a hundred steps, of the smallest standard start over that of the largest."""
    return lambda ds: np.log(ds[name].sel(start="standard", step=100)).isel(scale=[0, -1]).diff("scale")


def alignment(dataset) -> Any:
    """What a hundred steps change of the misalignment of the smallest standard start."""
    one = dataset.misalignment.sel(start="standard").isel(scale=-1)
    return one.sel(step=100) - one.isel(step=0)


def spectral(dataset) -> Any:
    """Log of the training loss after a hundred steps, the mean over sizes: spectral starts less standard ones."""
    end = np.log(dataset.train.sel(step=100)).mean("scale")
    return end.sel(start="spectral") - end.sel(start="standard")


IMAGES = "image experiments"
SMALLER = "log of the loss of the smallest start over that of the largest"
EXPERIMENT = Experiment(
    "digits", "the last layer of a network on digits", run=run,
    plot=kit.drawn(panel("train", "training loss"), panel("test", "loss on new pictures"),
                   panel("misalignment", "misalignment"), ylabel="", theory=""),
    sizes={"small": ("scikit-learn", 16, 100), "paper": ("scikit-learn", 30, 1000), "large": ("MNIST", 30, 1000)},
    seconds={"small": 6.2, "paper": 32.0},
    claims=(
        Claim("digits_train", "After a hundred steps of Adam smaller starts are at a lower training loss.", IMAGES,
              kit.estimated(after_hundred("train"), "<=", quantity=SMALLER), expected="fails",
              why="on this small stand-in the larger start is faster, and in the end all are alike"),
        Claim("digits_test", "And at a lower loss on new pictures.", IMAGES,
              kit.estimated(after_hundred("test"), "<=", quantity=SMALLER), expected="fails", why="as in training"),
        Claim("digits_aligns", "A small start aligns with the gradient's singular vectors within a hundred steps.",
              IMAGES, kit.estimated(alignment, "<=", quantity="change of the misalignment in a hundred steps")),
        Claim("digits_spectral", "After a hundred steps spectral starts are below standard ones, over all sizes.",
              "derived here",
              kit.estimated(spectral, "<=", quantity="log of the training loss, spectral starts over standard ones")),
    ),
)  # fmt: skip
