"""Both models through Gaussian measurements."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._descent import LINEAR, LOWER, STEP, R, descend, small_starts, truth
from .symmetric import GROWTH, growth


def run_sensing(setting, key):
    import jax
    import jax.numpy as jnp
    import xarray

    n, rank, seeds, steps = setting
    measure, begin = jax.random.split(key)
    solution = jnp.asarray(truth(n))
    operator = lowrank.GaussianSensing(measure, (n, n), 10 * n * rank)
    problem = lowrank.sensing_loss(lowrank.SensingProblem(operator, operator.apply(solution), solution=solution))
    F, G = small_starts(begin, n, rank, (0.5,), seeds)
    starts = {"symmetric": F, "asymmetric": (F, G)}
    runs = [descend(problem, each, steps, tl.geometric(60)).loss for each in starts.values()]
    loss = xarray.concat(runs, "model").assign_coords(model=list(starts))
    return xarray.Dataset({"loss": loss, "surplus": rank - R, "measurements": 10 * n * rank})


def panel(axes, dataset):
    for model, colour in zip(dataset.model.values, figures.COLOURS, strict=False):
        loss = dataset.loss.sel(model=model).isel(step=slice(1, None))
        for seed, values in enumerate(loss.values):
            figures.measured(axes, loss.step, values, color=colour, label="" if seed else str(model))
    late = dataset.step.values[dataset.step.values > 100]
    figures.predicted(axes, late, float(dataset.surplus) / (2 * STEP * late) ** 2, label="population law, symmetric")
    axes.set(xscale="log", yscale="log", ylim=(1e-20, 30), xlabel="step $t$", title="Gaussian measurements")


def last_ratio(dataset):
    """The last asymmetric losses over the symmetric ones, from one start each.

    A surplus pair with the imbalance c ends at the product (c/2) / sinh(c eta t + ..) <= 1 / (2 eta t), which is
    what symmetric descent leaves of a column: at equal curvature no start has a ratio above one, and those with c eta t
    above one are far below. Measurements give two directions the curvatures 1 +- 3 sqrt(2/m) (three deviations of a
    mean of m squares), and either loss goes as the curvature to the power -2.
    """
    last = dataset.loss.isel(step=-1)
    return last.sel(model="asymmetric") / last.sel(model="symmetric")


SENSING = Experiment(
    "sensing", "both models through Gaussian measurements", run=run_sensing,
    plot=kit.drawn(panel, ylabel=r"$|W - M|^2$", theory=""),
    # the law of the surplus is seen from a few hundred steps on: 5000 of them show it at a tenth of the cost of 50,000
    sizes={"small": (14, 5, 3, 3000), "paper": (50, 5, 5, 5000), "large": (50, 5, 20, 200_000)},
    seconds={"small": 6.6, "paper": 106.0},
    claims=(
        Claim("sensing_faster", "Through Gaussian measurements asymmetric descent ends below symmetric descent.",
              LINEAR, kit.bounded(last_ratio, "<=", 1.0, rounding=lambda ds: 12 * np.sqrt(2 / ds.measurements),
                                  quantity="largest last loss of asymmetric descent, over that of symmetric descent")),
        Claim("sensing_sublinear", "There too symmetric descent falls no faster than $1/T^2$.", LOWER,
              kit.bounded(lambda ds: growth(ds.sel(model="symmetric")), ">=", 1.0, quantity=GROWTH)),
    ),
)  # fmt: skip
