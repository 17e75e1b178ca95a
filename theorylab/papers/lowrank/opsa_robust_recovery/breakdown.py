"""Surplus columns against outliers."""

import warnings

import numpy as np

import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._races import CLAIMED, HERE, LIMIT, LOST, OUTLIER, RATE, claimed, factor, race

ROUNDED = 4096 * np.finfo(float).eps  # sums of some thousand measurements, at condition numbers of a few
SLIGHT = 0.2  # a damping well below the least singular value, one
FRACTIONS = [0.0, 0.1, 0.2, 0.3, 0.4]


def run_breakdown(setting, key):
    import jax
    import xarray

    n, r, ranks, steps = setting
    of_operator, of_lanes = jax.random.split(key)
    operator = lowrank.GaussianSensing(of_operator, (n, n), 2 * n * max(ranks))
    rank, outliers = (xarray.DataArray(values, {name: values}, name)
                      for name, values in (("rank", ranks), ("outliers", FRACTIONS)))  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the sensing is too small")  # which this is about
        dataset = race(operator, of_lanes[None], r, steps, damping=SLIGHT, rank=rank, outliers=outliers)
    return dataset.assign(claimed=("outliers", [claimed(p) for p in FRACTIONS]), true_rank=r)


def plot_breakdown(dataset):
    figure, axes = figures.panels(2)
    last = np.log10(dataset.error.isel(step=-1)).transpose("outliers", "rank")
    image = axes[0].pcolormesh(last, cmap="cividis", vmin=-15, vmax=0, edgecolors="white", linewidth=1.5)
    axes[0].set_xticks(np.arange(len(last["rank"])) + 0.5, last["rank"].values)
    axes[0].set_yticks(np.arange(len(last.outliers)) + 0.5, last.outliers.values)
    axes[0].grid(visible=False)
    figure.colorbar(image, ax=axes[0], label=r"$\log_{10}$ relative error at the end")
    r, full = int(dataset.true_rank), int(dataset["rank"].max())
    axes[0].set(xlabel="width $d$ of the factors", ylabel="outlier fraction $p$", title=f"$r = {r}$, $m = {2 * full}n$")
    two = dataset.sel(rank=[r, 2 * r])
    kit.curves(axes[1], two, "contraction", x="outliers", by="rank", log="", labels="$d = {}$".format, marker="o")
    figures.predicted(axes[1], dataset.outliers, dataset.claimed, label=r"claimed, $\chi = 1/(1 - 2p)$")
    axes[1].set(xlabel="outlier fraction $p$", ylabel="factor a step", title="contraction")
    figures.legend(axes[1])
    return figure


def ends(relation, limit, outliers, times=None, rounding=0.0):
    """The final error by width, in units of the true rank, and outlier fraction; no number: the largest width."""

    def read(dataset):
        width = dataset["rank"].max() if times is None else times * dataset.true_rank
        return dataset.error.isel(step=-1).sel(rank=int(width), outliers=outliers)

    return kit.bounded(read, relation, limit, rounding=rounding, quantity="relative error at the end")


def recovered(outliers):
    return ends("<=", 0.0, outliers, times=2, rounding=ROUNDED)


def excess(dataset):
    """Over the claimed factor at the true rank, over the fractions that are recovered from."""
    runs = {"rank": int(dataset.true_rank), "outliers": slice(0.3)}
    return factor(**runs)(dataset) - dataset.claimed.sel(outliers=slice(0.3))


def slowdown(dataset):
    """The contraction factor of clean data at the largest width less that at the true rank."""
    narrow, wide = (factor(outliers=0.0, rank=d)(dataset) for d in dataset["rank"].values[[0, -1]])
    return wide - narrow


BREAKDOWN = Experiment(
    "breakdown", "surplus columns against outliers", run=run_breakdown, plot=plot_breakdown,
    sizes={"small": (24, 2, [2, 3, 4, 6, 10], 600), "paper": (50, 5, [5, 7, 10, 15, 20, 25], 2500),
           "large": (100, 10, [10, 12, 15, 20, 30, 40, 50], 5000)},
    seconds={"small": 5.0, "paper": 87.0},
    claims=(
        Claim("surplus_exact", "With twice as many columns as needed clean data give the matrix to rounding.",
              RATE, recovered(0.0)),
        Claim("outliers_exact", "So do data with a tenth of outliers.", OUTLIER, recovered(0.1)),
        Claim("outlier_rate", "At the true rank every fraction of outliers up to 0.3 obeys its own claimed rate,"
              r" $\chi = 1/(1 - 2p)$.", CLAIMED,
              kit.estimated(excess, "<=", quantity="largest contraction factor less the claimed one")),
        Claim("width_slower", "Clean data take more steps with surplus columns, for measurements are worse isometries"
              " of wider matrices.", HERE,
              kit.estimated(slowdown, ">=",
                            quantity="contraction factor at the largest width, less that at the true rank")),
        Claim("half", "Every fraction of outliers below one half is recovered with twice the columns.",
              LIMIT, recovered(0.4), expected="fails", why="one half is the limit of infinitely many measurements"),
        Claim("too_wide", "With as many numbers in the factors as measurements, and a tenth of outliers, recovery"
              " fails.", HERE, ends(">=", LOST, 0.1)),
        Claim("too_wide_clean", "It fails on clean data too.", HERE, ends(">=", LOST, 0.0), expected="fails",
              why="the spectral start leads to the truth, though other matrices fit as well"),
    ),
)  # fmt: skip
