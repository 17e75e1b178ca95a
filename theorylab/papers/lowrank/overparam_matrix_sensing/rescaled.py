"""One rescaling of the factors in between: the slope then depends on the start no more."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._descent import FIX, STEP, decay, descend, late_slopes, population, squared_error

FIRST, STEPS = 800, 1000  # surplus columns have settled by then, and the smallest start is not at rounding yet


def run_fix(setting, key):
    import jax
    import jax.numpy as jnp
    import xarray

    rank, seeds, scales = setting
    (problem, starts), every = population(key, rank, scales, seeds), tl.every(10)
    before = descend(problem, starts, FIRST, every)

    def build(key, *, start, mended):
        fixed = lowrank.rescaled_factors(start[0], start[1], 1.0)
        x0 = jax.tree.map(lambda new, old: jnp.where(mended > 0, new, old), fixed, start)
        return lowrank.FactorisedDescent(STEP), problem, x0

    first = tl.Record(tl.at([0]), product=lambda problem, state: state.x[0] @ state.x[1].T)
    over = {"start": tl.Cases((before["value.0"].values, before["value.1"].values)), "mended": [0.0, 1.0]}
    after = tl.sweep(build, over=over, key=0, steps=STEPS, record=[tl.Record(every, loss=squared_error), first])
    after = after.isel(seed=0, step_2=0, drop=True)
    plain, fixed = (after.loss.isel(mended=k, drop=True) for k in (0, 1))
    dataset = xarray.Dataset({
        "before": before.loss.rename(step="first"), "plain": plain, "fixed": fixed,
        "moved": abs(after.product.diff("mended")).max(["mended", "product_0", "product_1"]),
        "slopes": late_slopes(fixed, fixed.step),
    })  # fmt: skip
    dataset = dataset.drop_vars("start").coarsen(start=seeds).construct(start=("scale", "start"))
    rate = lowrank.claims.overparam_matrix_sensing.contraction(STEP, 1.0)
    return dataset.assign_coords(scale=scales).assign(predicted=2 * np.log(rate))


def panel(axes, dataset):
    switch = int(dataset["first"][-1])
    for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
        one = dataset.sel(scale=scale).isel(start=0)
        figures.measured(axes, one["first"], one.before, color=colour, label=rf"$\alpha = {scale:g}/\sqrt{{n}}$")
        figures.measured(axes, switch + one.step, one.plain, color=colour, linewidth=0.9)
        decay(axes, one.fixed, switch + one.step, one.predicted, color=colour)
    axes.axvline(switch, color="0.6", linewidth=1)
    axes.set(yscale="log", xlabel="step $t$", title="one step in between (thin: without)")


def may_move(dataset):
    """How much F^T F may yet change, over beta^2 = 1: what G takes in is the residual of the moment of the step."""
    return 2 * np.sqrt(dataset.before.isel(first=-1))


def off_slope(dataset):
    return abs(dataset.slopes.isel(window=1) / dataset.predicted - 1) / may_move(dataset)


def apart(dataset):
    last = dataset.slopes.isel(window=1)
    return last.min("scale") / last.max("scale") - 1


FIX_ONCE = Experiment(
    "fix", "one rescaling of the factors in between", run=run_fix,
    plot=kit.drawn(panel, ylabel=r"$|FG^T - M|^2$", theory="predicted slope"),
    sizes={"small": (6, 3, [0.5, 0.25]), "paper": (8, 10, [0.5, 0.25, 0.125]),
           "large": (8, 100, [0.5, 0.25, 0.125, 0.0625])},
    seconds={"small": 3.2, "paper": 3.0},
    claims=(
        Claim("product_kept", "The one step leaves the product as it is.", FIX,
              # sums of a handful of products of numbers up to one, twice
              kit.bounded("moved", "<=", 0.0, rounding=50 * np.finfo(float).eps,
                          quantity="largest change of an entry of F G' over sigma_1")),
        Claim("fixed_rate", r"After it every step contracts the residual by $1 - \eta\beta^2$.", FIX,
              kit.bounded(off_slope, "<=", 1.0,
                          quantity="relative miss of the late slope, over what F may still move")),
        Claim("fixed_scale_free", "That slope does not depend on the start's scale.", FIX,
              kit.bounded(apart, "<=", 0.0, rounding=lambda dataset: 2 * may_move(dataset).max(),
                          quantity="relative distance of one start's late slopes at different scales")),
    ),
)  # fmt: skip
