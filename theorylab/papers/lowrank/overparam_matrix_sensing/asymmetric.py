"""Asymmetric descent is linear, at the rate of its start's imbalance."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment, Verdict

from ._descent import HERE, LATE, LINEAR, STEP, R, decay, descend, late_slopes, population, residual, surplus, windows


def run_asymmetric(setting, key):
    import xarray

    ranks, seeds, scales, steps = setting

    def at(rank, scale):
        problem, starts = population(key, rank, (scale,), seeds)
        # surplus columns have the time 1 / (eta scale^2)
        many = round(steps * (scales[0] / scale) ** 2) if rank > R else steps
        runs = descend(problem, starts, many, tl.every(many // 400), residual=residual)
        theory = kit.tabulate(lambda start: late(runs.isel(start=start), problem.solution), start=range(seeds))
        kept = {"loss": runs.loss, "time": runs.step, "slopes": late_slopes(runs.loss, runs.step)}
        return xarray.Dataset(kept).rename(step="row").drop_vars("row").merge(theory)

    found = [[at(rank, scale) for scale in scales] for rank in ranks]
    return xarray.combine_nested(found, ["rank", "scale"]).assign_coords(rank=ranks, scale=scales)


def late(run, solution) -> Any:
    """What theory says of one run: its rates by the factors at the end, and its slope over the last window."""
    F, G = run["value.0"].values, run["value.1"].values
    rate, rows, slope = lowrank.late_rate(F, G, R), windows(run.loss.values), np.nan
    if rows is not None:
        # in the end the slope is that of the rate; where two rates are close, that is after the loss is rounding
        steps = run.step.values[rows[-1]] - run.step.values[rows[1]]
        first, last = lowrank.late_loss(run.residual.values[rows[1]], F, G, STEP, np.asarray([0, steps]))
        slope = np.log(last / first) / steps
    law, error = rate, 0.0
    if F.shape[1] > R:
        law, error = (function(F, G, solution, R) for function in (lowrank.surplus_rate, lowrank.surplus_rate_error))
    return {"rate": rate, "law": law, "law_error": error, "linear": slope, "predicted": 2 * np.log(1 - STEP * rate)}


def plot_asymmetric(dataset):
    figure, axes = figures.panels(dataset.sizes["rank"], sharey=True)
    for panel, rank in zip(axes, dataset["rank"].values, strict=True):
        for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
            one = dataset.sel(rank=rank, scale=scale).isel(start=0)
            label = rf"$\alpha = {scale:g}/\sqrt{{n}}$"
            decay(panel, one.loss, one.time, one.predicted, color=colour, label=label)
        panel.set(yscale="log", xlabel="step $t$", title=f"asymmetric: $FG^T$, $k = {rank}$")
    figures.predicted(axes[0], [], [], label="predicted slope")
    axes[0].set_ylabel(r"$|FG^T - M|^2$")
    figures.legend(axes)
    return figure


def off_rate(dataset):
    """The last slopes off those of the linear law, in units of what the factors may still move."""
    return abs(dataset.slopes.isel(window=1) / dataset.linear - 1) / (np.sqrt(LATE) / dataset.rate)


def check_square(dataset):
    """The exponent in the scale of the late slope, between the two smallest scales."""
    runs = surplus(dataset).sortby("scale", ascending=False)
    log_slopes = np.log(-runs.slopes.isel(window=1, drop=True)).mean("rank")
    mean, error = Estimate.of(log_slopes.diff("scale") / np.log(runs.scale).diff("scale"), "start")
    # what is left of it falls as the scale or faster, so that it is at most what it was seen to change
    change = abs(mean.diff("scale").isel(scale=-1))
    return Verdict.compare(
        mean.isel(scale=-1), "==", 2.0, 3 * error.isel(scale=-1) + change,
        quantity="slope of log late rate against log scale of the start",
    )  # fmt: skip


def off_law(dataset):
    """The miss of the law of the imbalance, in units of its bound."""
    return abs(surplus(dataset).law - surplus(dataset).rate) / surplus(dataset).law_error


def unsettled(dataset):
    """Runs end before their limit: factors are off by the last error at most."""
    return (np.sqrt(surplus(dataset).loss.isel(row=-1)) / surplus(dataset).law_error).max()


ASYMMETRIC = Experiment(
    "asymmetric", "asymmetric descent from starts of several scales", run=run_asymmetric, plot=plot_asymmetric,
    sizes={"small": ([4, 6], 4, [0.5, 0.25, 0.125], 4000), "paper": ([3, 5, 8], 10, [0.5, 0.25, 0.125, 0.0625], 8000),
           "large": ([3, 5, 8], 100, [0.5, 0.25, 0.125, 0.0625, 0.03125], 8000)},
    seconds={"small": 4.4, "paper": 28.0},
    claims=(
        Claim("imbalance_rate", "Asymmetric descent is linear, at the rates of the singular values of the factors that"
              " survive: the imbalance of surplus directions, and the signal.", HERE,
              kit.bounded(off_rate, "<=", 1.0, quantity="largest relative miss of the late slope, over what the factors"
                          " may still move")),
        Claim("alpha_squared", "With surplus rank that slope is of the order of the square of the start's scale.",
              LINEAR, check_square),
        Claim("imbalance_law", "The least eigenvalue of the imbalance on the surplus directions gives that rate up to"
              " its square between signal and surplus, over the signal: relative to the rate an error of second order"
              " in the start's scale.", HERE,
              kit.bounded(off_law, "<=", 1.0, rounding=unsettled,
                          quantity="largest miss of the imbalance's least eigenvalue, over its bound")),
    ),
)  # fmt: skip
