"""Certificates of the start: their bounds in all shapes, and how tight they are by width and scale."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

TABLE, HERE = "table of initialisation quantities", "derived here"


def run_shapes(draws, key):
    from theorylab.lowrank.two_layer import extreme_curvatures

    rng = tl.keys.generator(key)

    def one(shape, draw):
        del draw
        n, m = rng.integers(1, 6, 2)
        while (n == m) != (shape == "n = m"):
            m = rng.integers(1, 6)
        h = min(n, m) + rng.integers(0, 5)
        W1, W2 = (10 ** rng.uniform(-1, 1) * rng.standard_normal((rows, h)) for rows in (n, m))
        a, s = extreme_curvatures(W1, W2)
        claimed, above = lowrank.claims.two_layer_linear_gd.certificate(W1, W2)
        corrected, _ = lowrank.imbalance_certificate(W1, W2)
        return {"a": a / s, "claimed": claimed / s, "corrected": corrected / s, "above": above / s}

    return kit.tabulate(one, shape=["n = m", "n != m"], draw=range(draws))


def scatter(name, title) -> Any:
    look: Any = {"log": "", "linestyle": "", "marker": ".", "markersize": 4, "title": title}

    def panel(axes, dataset):
        labels = {"n = m": "$n = m$", "n != m": r"$n \neq m$"}.__getitem__
        kit.curves(axes, dataset.isel(shape=[1, 0]), name, x="a", by="shape", labels=labels, **look)
        figures.predicted(axes, [0, 1], [0, 1])
        axes.set_xlabel("$a/s$")

    return panel


def below(name, shape) -> Any:
    quantity = f"{name} certificate less a, over s"  # which rounds as eigenvalues of small matrices do
    return kit.bounded(lambda ds: (ds[name] - ds.a).sel(shape=shape), "<=", 0.0, rounding=1e-12, quantity=quantity)


SHAPES = Experiment(
    "shapes", "certificates for square and oblong products", run=run_shapes,
    plot=kit.drawn(scatter("claimed", r"$\alpha_1/s$ as printed"), scatter("corrected", r"corrected $\alpha/s$"),
                   ylabel="certificate", theory="", sharey=True),
    sizes={"small": 500, "paper": 4000, "large": 40_000}, seconds={"small": 0.4, "paper": 5.0},
    claims=(
        Claim("certificate_square", r"$\alpha_1$ with the smallest singular value in both roots is at most $a$, for"
              r" $n = m$.", TABLE, below("claimed", "n = m")),
        Claim("certificate_oblong", r"It is at most $a$ for $n \ne m$.", TABLE, below("claimed", "n != m"),
              expected="fails",
              why="the larger factor has no singular value of that index: its root must have zero in its place"),
        Claim("certificate_corrected", "With zero in that root it is at most $a$ in every shape.",
              HERE, below("corrected", ["n = m", "n != m"])),
        Claim("certificate_above", r"$\alpha_2$ is at least $s$ in every shape.",
              TABLE, kit.bounded("above", ">=", 1.0, rounding=1e-12, quantity="alpha2 over s")),
    ),
)  # fmt: skip


def run_width(setting, key):
    from theorylab.lowrank.two_layer import extreme_curvatures

    (widths, seeds), powers, rng = setting, (0.275, 0.375, 0.475), tl.keys.generator(key)

    def one(width, seed):
        del seed
        X, Theta = np.linalg.qr(rng.standard_normal((10, 10)))[0], np.sqrt(0.1) * rng.standard_normal((10, 10))
        solution = Theta + X.T @ (np.sqrt(0.1) * rng.standard_normal((10, 10)))
        W, certified, exact = rng.standard_normal((2, 10, width)), [], []
        for W1, W2 in (W / width**p for p in powers):
            margin = lowrank.spectral_margin(W1 @ W2.T, solution, mu=1.0, lipschitz=1.0)
            certified.append(np.divide(*lowrank.claims.two_layer_linear_gd.certificate(W1, W2, margin)))
            exact.append(np.divide(*extreme_curvatures(W1, W2)))
        return {"certified": ("power", certified), "exact": ("power", exact)}

    return kit.tabulate(one, width=widths, seed=range(seeds)).assign_coords(power=list(powers))


def plot_width(panel, dataset):
    labels = r"$\alpha_1/\alpha_2$, $p = {:g}$".format
    kit.curves(panel, dataset, "certified", x="width", by="power", log="", marker="o", labels=labels)
    exact = dataset.exact.isel(power=0)
    figures.measured(panel, exact.width, exact.T, label=r"$a_0/s_0$, every $p$", color="0.5", marker="s")
    panel.set(ylim=(0, 1), xlabel="width $h$", title=r"entries $N(0, h^{-2p})$")


WIDTH = Experiment(
    "width", "conditioning by width and scale", run=run_width,
    plot=kit.drawn(plot_width, ylabel="conditioning", theory=""),
    sizes={"small": ((200, 400, 800), 8), "paper": ((500, 1000, 1500, 2000), 30),
           "large": ((500, 1000, 2000, 4000, 8000), 100)}, seconds={"small": 0.1, "paper": 1.0},
    claims=(
        Claim("wider_better", "The certified conditioning grows with the width, at every scale.", "Appendix G.1",
              kit.estimated(lambda ds: ds.certified.isel(width=[0, -1]).diff("width"), ">=",
                            quantity="rise of alpha1/alpha2, narrowest to widest")),
        Claim("smaller_power_better", "Entries $N(0, h^{-2p})$ are certified to be conditioned better for smaller $p$.",
              "Theorem 3.3", kit.ordered("certified", "power", "falls", quantity="alpha1/alpha2")),
        Claim("larger_power_better", "They are conditioned better for larger $p$.", "Appendix G.1, text",
              kit.ordered("certified", "power", "rises", quantity="alpha1/alpha2"), expected="fails",
              why=r"$\alpha_2$ holds the margin $\beta_2$, which weighs more as the entries shrink: Theorem 3.3 has it"
              r" right"),
        Claim("scale_free", "The conditioning $a/s$ itself does not depend on $p$.", HERE,
              kit.bounded(lambda ds: ds.exact / ds.exact.isel(power=0), "==", 1.0, rounding=1e-13,
                          quantity="a/s over that of the first p")),
    ),
)  # fmt: skip
