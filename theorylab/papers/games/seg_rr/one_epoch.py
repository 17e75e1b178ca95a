"""One epoch of extragradient from one point: the contraction on the game u v, and the certificate of stability."""

import numpy as np

import theorylab.engine as tl
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from .race import BOTH, HERE, NAMES, setup


def start(game):
    import jax.numpy as jnp

    return jnp.asarray([0.6, 0.8])


def turns(strengths):
    """The bilinear game of s_i u v, whose components turn and scale the plane."""
    return games.AffineGame(np.multiply.outer(strengths, [[0.0, 1.0], [-1.0, 0.0]]), np.zeros((len(strengths), 2)))


def growth(key, build, over, seeds=1):
    """|x|^2 over |x_0|^2 after an epoch; |x_0| = 1."""
    runs = tl.sweep(build, over=over, seeds=seeds, key=key, steps=1)
    return runs.assign(growth=(runs.value**2).sum("value_0"))


def run_toy(step_sizes, key):
    build, over = setup(start=start, game=turns([1.0]), order="cyclic"), {"scale": [0.0, 1.0, 4.0]}
    dataset = growth(key, build, {**over, "step_size": step_sizes}).isel(seed=0)
    ahead = dataset.scale * dataset.step_size
    return dataset.assign(stated=(1 - dataset.step_size * ahead) ** 2 + dataset.step_size**2)


GRID = np.geomspace(0.01, 0.5, 24)
LOOKS = {0.0: "descent-ascent", 1.0: r"$\gamma_2 = \gamma_1$", 4.0: r"$\gamma_2 = 4\gamma_1$"}
TOY = Experiment(
    "toy", "the contraction on the game uv", sizes=dict.fromkeys(("small", "paper", "large"), GRID), run=run_toy,
    plot=kit.drawn(lambda panel, dataset: kit.curves(
        panel, dataset, "growth", x="step_size", by="scale", theory="stated", labels=LOOKS.__getitem__, log="",
        xlabel=r"step size $\gamma_1$", title="one step on the game $uv$", marker="o", linewidth=0, markersize=5),
        ylabel=r"$|x^+|^2 / |x|^2$", theory="stated"),
    seconds={"small": 1.3, "paper": 1.0},
    claims=(
        Claim("toy_contraction", r"On $uv$ a step multiplies $|x|^2$ by $(1 - \gamma_1\gamma_2)^2 + \gamma_1^2$.", HERE,
              # 45 roundings of float64
              kit.bounded(lambda dataset: abs(dataset.growth / dataset.stated - 1), "<=", 0.0, rounding=1e-14,
                          quantity="largest relative deviation of |x+|^2 / |x|^2")),
    ),
)  # fmt: skip


def run_certificate(seeds, key):
    build = setup(start=start, game=turns([0.5, 1.0, 1.5, 2.0]), scale=4.0)
    over = {"order": BOTH, "step_size": np.linspace(0.05, 0.45, 9)}
    return growth(key, build, over, seeds).merge(kit.predict(games.stationary_error, build, over))


def panel_certificate(panel, dataset):
    kit.curves(
        panel,
        dataset,
        "growth",
        x="step_size",
        by="order",
        theory="ms_contraction",
        labels=NAMES.__getitem__,
        xlabel=r"step size $\gamma_1$",
        title="one epoch of a bilinear game",
        marker="o",
        linewidth=0,
    )
    panel.axhline(1, color="0.6", linewidth=1)  # fmt: skip


def sides(dataset):
    """The log of the growth, with the sign that makes it positive where run and certificate are on one side of 1."""
    return Estimate.of(dataset.growth, "seed").log() * np.sign(dataset.ms_contraction - 1)


CERTIFICATE = Experiment(
    "certificate", "mean-square stability, certified and run",
    sizes={"small": 16_384, "paper": 65_536, "large": 262_144}, run=run_certificate,
    plot=kit.drawn(panel_certificate, ylabel=r"$E|x_1|^2 / |x_0|^2$", theory="certificate"),
    seconds={"small": 5.1, "paper": 4.0},
    claims=(
        Claim("certificate", "An epoch multiplies the mean square by the certificate's factor.", HERE,
              kit.agrees("growth", "ms_contraction", quantity="|x_1|^2 / |x_0|^2 after an epoch")),
        Claim("certificate_sides", "Runs grow where the certificate exceeds one, and only there.", HERE,
              kit.estimated(sides, ">=", 0.0, quantity="log of E|x_1|^2 / |x_0|^2, its sign turned where the"
                            " certificate is below 1")),
    ),
)  # fmt: skip
