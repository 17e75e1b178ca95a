"""Symmetric descent: linear at the exact rank, of the order 1/T^2 with surplus columns."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._descent import HERE, LOWER, SIGNAL, STEP, R, descend, late_slopes, population, squared_error, surplus, truth


def run_symmetric(setting, key):
    ranks, seeds, steps = setting
    widest, starts = max(ranks), []
    for rank in ranks:
        # a column that is zero stays zero, so that one program serves all ranks
        _, (start, _) = population(key, rank, (0.5,), seeds)
        starts.append(np.pad(start, ((0, 0), (0, widest - rank), (0, widest - rank))))
    early = tl.Record(tl.at(list(range(0, 1001, 5))), early=squared_error)
    tenth = tl.Record(tl.at([steps // 10]), middle=lambda problem, state: state.x)
    problem = lowrank.squared_loss(truth(R + widest))
    runs = descend(problem, np.concatenate(starts), steps, tl.geometric(80), early, tenth)
    runs = runs.drop_vars("start").coarsen(start=seeds).construct(start=("rank", "start")).assign_coords(rank=ranks)
    # the surplus is what X has outside the signal
    left = np.linalg.svd(runs.middle.values[..., 0, R:, :], compute_uv=False)
    law = [[lowrank.surplus_loss(values[: rank - R], STEP, steps - steps // 10) for values in each]
           for rank, each in zip(ranks, left, strict=True)]  # fmt: skip
    found = runs[["loss"]].assign(law=(("rank", "start"), law), predicted=2 * np.log(1 - STEP * SIGNAL[-1]))
    return found.assign(slopes=late_slopes(runs.early.sel(rank=R, drop=True), runs.step_2))


def label(rank):
    return f"$k = {rank}$" + (", the true rank" if rank == R else "")


def panel(axes, dataset):
    late = dataset.step.values[dataset.step.values > 100]
    kit.curves(axes, dataset.isel(step=slice(1, None)), "loss", by="rank", over="start", log="xy", labels=label)
    for rank in surplus(dataset)["rank"].values:
        figures.predicted(axes, late, (rank - R) / (2 * STEP * late) ** 2)
    axes.set(ylim=(1e-20, 30), xlabel="step $t$", title="symmetric: $XX^T$")


def scaled(dataset):
    """Loss (2 eta t)^2 / (k - r) of the late rows: it comes to one from below."""
    late = surplus(dataset).isel(step=slice(-20, None))
    return late.loss * (2 * STEP * late.step) ** 2 / (late["rank"] - R)


GROWTH = "loss t^2 at the end, over its value twenty records before"


def growth(dataset):
    """Loss times t^2 at the end, over its value twenty records before: a loss that fell faster would make it fall."""
    late = (dataset.loss * dataset.step**2).isel(step=[-20, -1])
    return late.isel(step=1) / late.isel(step=0)


def law_rounding(dataset):
    """What the law leaves out, x^+ - x beyond its first order: 3 eta x^2 / 2 of the change of x^-2, which the last nine
    tenths of the run make ln 10 / 18 eta x^2 in all."""
    last = surplus(dataset).loss.isel(step=-1)
    return 6 * STEP * np.log(10) * np.sqrt(last / (last["rank"] - R)).max()


def off_law(dataset):
    return abs(surplus(dataset).loss.isel(step=-1) / surplus(dataset).law - 1)


def off_slope(dataset):
    """The last slopes off the predicted one, in units of what a slope still changes between its two windows."""
    early, last = (dataset.slopes.isel(window=k) for k in (0, 1))
    # the rest decays, so that what is left of it is less than the change that brought it here
    return abs(last / dataset.predicted - 1) / (abs(last / early - 1) + 1e-6)


SYMMETRIC = Experiment(
    "symmetric", "symmetric descent with exact and surplus rank", run=run_symmetric,
    plot=kit.drawn(panel, ylabel=r"$|XX^T - M|^2$", theory=r"$(k - r)/(2\eta t)^2$"),
    sizes={"small": ([3, 6], 3, 10_000), "paper": ([3, 5, 8], 10, 100_000), "large": ([3, 5, 8], 100, 1_000_000)},
    seconds={"small": 3.2, "paper": 9.0},
    claims=(
        Claim("sublinear", "With surplus rank symmetric descent falls no faster than $1/T^2$.", LOWER,
              kit.bounded(lambda ds: growth(surplus(ds)), ">=", 1.0, quantity=GROWTH)),
        Claim("surplus_law", r"The late loss is the sum of $(x^{-2} + 2\eta t)^{-2}$ over its surplus singular values.",
              HERE, kit.bounded(off_law, "<=", 0.0, rounding=law_rounding,
                                quantity="relative distance of the last loss from its law")),
        Claim("surplus_limit", r"Loss times $(2\eta t)^2$ comes to $k - r$ from below.", HERE,
              kit.bounded(scaled, "<=", 1.0, quantity="largest late loss (2 eta t)^2 / (k - r)")),
        Claim("exact_rank", "With the exact rank it is linear, at the rate of the least singular value.", HERE,
              kit.bounded(off_slope, "<=", 1.0,
                          quantity="relative miss of the late slope, over its change between windows")),
    ),
)  # fmt: skip
