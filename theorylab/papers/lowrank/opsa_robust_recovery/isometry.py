"""How measurements scale low-rank matrices."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._races import HERE, LIMIT

SUPPORTS, FRACTIONS = ("random", "worst"), np.asarray([0.1, 0.2, 0.3, 0.4])


def run_isometry(setting, key):
    import jax
    import xarray

    (n, d, m, draws, formed), (side, kept, many) = setting
    of_ratio, of_draws, of_operators = jax.random.split(key, 3)
    rng, ratios = tl.keys.generator(of_ratio), []
    for _ in range(draws):
        # given X the <A_k, X> / |X| are independent standard normal numbers: large ones are drawn as such
        values = rng.standard_normal(m)
        if formed:
            X = rng.standard_normal((n, d)) @ rng.standard_normal((d, n))
            values = rng.standard_normal((m, n * n)) @ X.ravel() / np.linalg.norm(X)
        ratios.append(np.sum(np.abs(values)))

    def constants(j, key):
        operator = lowrank.GaussianSensing(key, (side, side), kept)

        def at(support, outliers):
            more = {"key": jax.random.fold_in(of_draws, j), "support": str(support), "draws": 100}
            found = lowrank.restricted_constants(operator, 6, outliers=float(outliers), **more)
            return {"sharpness": found.sharpness.value, "inverse_chi": 1 / found.chi.value}

        return kit.tabulate(at, support=SUPPORTS, outliers=FRACTIONS)

    found = [constants(j, key) for j, key in enumerate(jax.random.split(of_operators, many))]
    theory = kit.tabulate(limit, support=SUPPORTS, outliers=FRACTIONS)
    return xarray.concat(found, "seed").merge(theory).assign(ratio=("draw", ratios), measurements=m)


def limit(support, outliers):
    word: Any = str(support)
    return {"limit": lowrank.gaussian_constants(float(outliers), word).sharpness}


def panel_ratio(axes, dataset):
    m = float(dataset.measurements)
    mean, spread = m * np.sqrt(2 / np.pi), np.sqrt(m * (1 - 2 / np.pi))
    axes.plot(dataset.ratio, ".", color=figures.COLOURS[0], markersize=4)
    for level, width in ((mean, 1.5), (mean - 2 * spread, 1), (mean + 2 * spread, 1)):
        label = "mean, and two standard deviations" if level == mean else ""
        figures.predicted(axes, [0, dataset.sizes["draw"]], level, linewidth=width, label=label)
    axes.set(xlabel="draw", ylim=(0.6 * m, m), title=r"Gaussian measurements: $m\sqrt{2/\pi}$")


def panel_bound(axes, dataset):
    labels = "{} support".format
    kit.curves(axes, dataset, "sharpness", x="outliers", by="support", log="", labels=labels, marker="o", linestyle="")
    fine = kit.tabulate(limit, support=SUPPORTS, outliers=np.linspace(0, 0.45, 100)).limit
    for line, colour in zip(fine, figures.COLOURS, strict=False):
        figures.predicted(axes, fine.outliers, line, color=colour)
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set(xlabel="outlier fraction $p$", ylabel=r"outlier bound $\delta_3$", title="what outliers leave of it")


def spread(dataset):
    ratio = dataset.ratio / np.sqrt(dataset.measurements)
    found = ratio.std(ddof=1)  # of sums of many numbers, which are normal: so is its error
    return Estimate(found, found / np.sqrt(2 * ratio.size - 2))


def random(name):
    return lambda dataset: dataset[name].sel(support="random", drop=True)


def turned(dataset):
    """The outlier bound of the worst support, positive below 0.239 and negative above."""
    return dataset.sharpness.sel(support="worst") * np.sign(0.239 - dataset.outliers)


SMALL, PAPER_SIZE = ((8, 2, 300, 400, True), (12, 300, 4)), ((500, 20, 5000, 500, False), (40, 4000, 12))
ISOMETRY = Experiment(
    "isometry", "how measurements scale low-rank matrices", run=run_isometry,
    plot=kit.drawn(panel_ratio, panel_bound, ylabel=r"$|A(X)|_1 / |X|_F$", theory="Gaussian limit"),
    sizes={"small": SMALL, "paper": PAPER_SIZE, "large": ((500, 20, 20_000, 5000, False), (60, 20_000, 24))},
    seconds={"small": 4.0, "paper": 16.0},
    claims=(
        Claim("mean_ratio", r"The mixed-norm ratio of fresh Gaussian measurements has the mean $\sqrt{2/\pi}$.", LIMIT,
              kit.estimated(lambda dataset: dataset.ratio / dataset.measurements, "==", np.sqrt(2 / np.pi), over="draw",
                            quantity="mean of |A(X)|_1 / (m |X|_F)")),
        Claim("ratio_spread", r"Over draws it has the standard deviation $\sqrt{(1 - 2/\pi)/m}$.", HERE,
              kit.estimated(spread, "==", np.sqrt(1 - 2 / np.pi),
                            quantity="standard deviation of |A(X)|_1 / (m |X|_F), times the root of m")),
        Claim("outlier_bound", r"With a random support of share $p$ the outlier bound is $(1 - 2p)\sqrt{2/\pi}$.",
              LIMIT, kit.agrees(random("sharpness"), random("limit"), quantity="the outlier bounds")),
        Claim("chi", r"Sharpness over Lipschitz constant, $1/\chi$, is then $1 - 2p$.", LIMIT,
              kit.agrees(random("inverse_chi"), lambda dataset: 1 - 2 * dataset.outliers,
                         quantity="the quotients 1/chi")),
        Claim("worst_support", "If an adversary chooses the support it vanishes between 0.2 and 0.3, at $p = 0.239$.",
              HERE, kit.estimated(turned, ">=",
                                  quantity="outlier bound of the worst support, its sign turned past 0.239")),
    ),
)  # fmt: skip
