"""The rank of the truth, at as many measurements for each number to be found."""

import numpy as np

import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._races import CLAIMED, CONTRACTION, ERROR, FREE, OUTLIERS, claimed, factor, race


def run_rank(setting, key):
    import jax
    import xarray

    n, ranks, seeds, steps = setting
    of_operator, of_lanes = jax.random.split(key)

    def at(r):
        operator = lowrank.GaussianSensing(jax.random.fold_in(of_operator, r), (n, n), 16 * n * r)
        keys = jax.random.split(jax.random.fold_in(of_lanes, r), seeds)
        draw = xarray.DataArray(np.arange(seeds), {"seed": range(seeds)}, "seed")
        return race(operator, keys, r, steps, rank=2 * r, damping=0.1, draw=draw)

    dataset = xarray.concat([at(r) for r in ranks], "rank").assign_coords(rank=ranks)
    return dataset.assign(claimed=claimed(OUTLIERS))


def label(r):
    return f"$r = {r}$, $d = {2 * r}$"


def panel(axes, dataset):
    mean = np.exp(np.log(dataset.error).mean("seed"))
    kit.curves(axes, mean.to_dataset(name="error"), "error", by="rank", labels=label,
               title=r"$m = 16\,n r$, a tenth of them outliers")  # fmt: skip
    figures.predicted(axes, dataset.step, dataset.claimed**dataset.step, label=r"claimed rate, $\chi = 1.25$")
    axes.set(ylim=(1e-15, 3))


def exponent(dataset):
    """Of the logarithmic rate of a step, -ln q, in the rank: against minus one half."""
    rate = Estimate.of(np.log(-np.log(dataset.contraction)), "seed")
    x = np.log(dataset["rank"]) - np.log(dataset["rank"]).mean()
    weights = x / (x**2).sum()
    return Estimate((weights * rate.value).sum(), np.sqrt((weights**2 * rate.standard_error**2).sum()))


RANK = Experiment(
    "rank", "over-parameterised recovery by the rank of the truth", run=run_rank,
    plot=kit.drawn(panel, ylabel=ERROR, theory=""),
    sizes={"small": (20, [1, 4], 4, 250), "paper": (50, [1, 2, 5, 10], 8, 500),
           "large": (100, [1, 2, 5, 10, 20], 16, 500)},
    seconds={"small": 8.3, "paper": 48.0},
    claims=(
        Claim("rank_free", "At as many measurements for each number to be found, the rate does not fall with the rank:"
              " its order is above -1/2.", FREE,
              kit.estimated(exponent, ">=", -0.5,
                            quantity="slope of the log of -ln(contraction factor) against log rank")),
        Claim("rank_rate", r"At every rank a step contracts by $\sqrt{1 - 0.12/\chi^2}$ or better.",
              CLAIMED, kit.estimated(factor(), "<=", "claimed", quantity=CONTRACTION)),
    ),
)  # fmt: skip
