"""Whether a matrix was recovered: what `robust_recovery` says of random problems, against their true errors; and what a
loss at its minimum says of factors that are too wide."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._races import HERE, LOST

RECOVERED, UNDECIDED, NOT = OUTCOMES = ("recovered", "undecided", "not_recovered")
KINDS = ["identity", "entries", "Gaussian", "rank one", "linear map"]
WIDTHS = np.arange(1, 7)


def sums(index, signs, X):
    return (X.reshape(-1)[index] * signs).sum(1)


def operator(kind, key, shape, m):
    import jax

    if kind == "linear map":  # eight entries a measurement, with random signs
        of_index, of_signs = jax.random.split(key)
        index = jax.random.randint(of_index, (m, 8), 0, shape[0] * shape[1])
        function = jax.tree_util.Partial(sums, index, jax.random.rademacher(of_signs, (m, 8), float))
        return lowrank.LinearSensing(function, shape)
    if kind == "identity":
        return lowrank.IdentitySensing(shape)
    make = {"Gaussian": lowrank.GaussianSensing, "rank one": lowrank.RankOneSensing, "entries": lowrank.EntrySampling}
    return make[kind](key, shape, m)


def run_outcomes(setting, key):
    import jax

    kinds, shape, ranks, counts, problems, steps, most_outliers = setting
    of_problems, of_widths = jax.random.split(key)

    def answer(kind, problem):
        """Of a random problem of a kind: its draws do not depend on what other problems there are."""
        mine = jax.random.split(jax.random.fold_in(of_problems, kinds.index(str(kind))), problems)[problem]
        rng = tl.keys.generator(mine)
        of_operator, of_truth, of_errors, of_held = jax.random.split(mine, 4)
        true_rank, condition = int(rng.integers(1, ranks + 1)), rng.choice([1.0, 3.0, 10.0])
        truth = lowrank.low_rank_matrix(of_truth, shape, true_rank, condition)
        outliers, scale = rng.uniform(0, most_outliers), np.exp(rng.uniform(np.log(0.3), np.log(30)))
        measured = operator(kind, of_operator, shape, int(rng.choice(counts)) if counts else 0)
        problem = lowrank.corrupted_problem(of_errors, measured, truth, outliers=outliers, outlier_scale=scale)
        found = lowrank.robust_recovery(measured, problem.observations, rank=2 * ranks, key=of_held, steps=steps)
        return {"outcome": OUTCOMES.index(found.outcome), "error": problem.error(found.factors)}

    return kit.tabulate(answer, kind=kinds, problem=range(problems)).merge(too_wide(of_widths, shape))


def too_wide(key, shape):
    """Whether Polyak steps with factors of a width end at a loss that is no larger than that of the truth, and the
    error there."""
    import jax.numpy as jnp

    problem = lowrank.completion_problem(key, shape=shape, true_rank=2, outliers=0.1)
    L, R = lowrank.truncated_spectral_init(problem, int(WIDTHS[-1]))

    def build(key, *, width):
        columns = (jnp.arange(WIDTHS[-1]) < width).astype(L.dtype)[None]
        return lowrank.PreconditionedSubgradient(1e-3), problem, (L * columns, R * columns)

    record = tl.Record(tl.at([1000]), loss=lambda problem, state: problem.loss(state.x),
                       width_error=lambda problem, state: problem.error(state.x))  # fmt: skip
    runs = tl.sweep(build, over={"width": WIDTHS}, key=0, steps=1000, record=record).isel(seed=0, step=0, drop=True)
    least: Any = problem.minimum
    least = least + 1e-6 * jnp.mean(jnp.abs(problem.observations))
    return runs[["width_error"]].assign(at_minimum=runs.loss <= float(least))


def plot_outcomes(dataset):
    figure, axes = figures.panels(2)
    rng = np.random.default_rng(0)
    for i, kind in enumerate(dataset.kind.values):
        one = dataset.sel(kind=kind)
        lifted = (i - (dataset.sizes["kind"] - 1) / 2) * 0.12 + rng.uniform(-0.04, 0.04, one.outcome.shape)
        axes[0].plot(one.error, one.outcome + lifted, ".", color=figures.COLOURS[i], markersize=4, label=str(kind))
    axes[0].axvline(LOST, color="black", linestyle="--", label="allowed error")
    axes[0].set(xscale="log", xlabel="relative error", title="what is said of the matrix that was found",
                yticks=range(3), yticklabels=["recovered", "undecided", "not recovered"], ylim=(-0.5, 2.5))  # fmt: skip
    figures.legend(axes[0])
    stopped = dataset.at_minimum.values.astype(bool)
    for chosen, marker, label in ((stopped, "o", "loss at its minimum"), (~stopped, "x", "loss above it")):
        some = dataset.isel(width=chosen)
        axes[1].plot(some.width, some.width_error, marker, color=figures.COLOURS[1], label=label)
    axes[1].axvline(2, color="black", linestyle="--", label="true rank")
    axes[1].set(yscale="log", xlabel="columns of the factors", ylabel="relative error",
                title="outliers on entries: a rank that is too large")  # fmt: skip
    figures.legend(axes[1])
    return figure


def called(dataset, outcome):
    return dataset.outcome == OUTCOMES.index(outcome)


def most(total, share):
    """The count that chance allows, at three sigma."""
    from scipy import stats

    return stats.binom.ppf(0.99865, int(total), share)


RECOVERIES = Experiment(
    "outcomes", "what is said of a recovery, and its error", run=run_outcomes, plot=plot_outcomes,
    sizes={"small": (["identity"], (14, 12), 2, (), 8, 400, 0.3),
           "paper": (KINDS, (30, 24), 4, (160, 320, 640), 200, 1000, 0.5),
           "large": (KINDS, (60, 50), 6, (800, 1600, 2800), 1000, 1000, 0.5)},
    seconds={"small": 15.3, "paper": 459.0},
    claims=(
        Claim("recovered", "What `robust_recovery` calls recovered has a relative error of at most 1e-2.", HERE,
              kit.bounded(lambda dataset: dataset.error.where(called(dataset, RECOVERED)).max(), "<=", LOST,
                          quantity='largest relative error of what is called "recovered"')),
        Claim("not_recovered", "At most 1 % of what it calls not recovered is right all the same.", HERE,
              kit.bounded(lambda dataset: (called(dataset, NOT) & (dataset.error <= LOST)).sum(), "<=",
                          lambda dataset: most(called(dataset, NOT).sum(), 0.01),
                          quantity='right matrices among the "not_recovered"')),
        Claim("undecided", "At most 5 % of random problems are left undecided.", HERE,
              kit.bounded(lambda dataset: called(dataset, UNDECIDED).sum(), "<=",
                          lambda dataset: most(dataset.outcome.size, 0.05), quantity="undecided problems")),
        Claim("minimum", "A loss at its minimum is recovery, however many columns the factors have.", HERE,
              kit.bounded(lambda dataset: dataset.width_error.where(dataset.at_minimum).max(), "<=", LOST,
                          quantity="largest relative error of a run at the minimum of its loss"), expected="fails",
              why="where outliers hit entries, a surplus column fits some of them: the loss is that of the truth, or"
              " less, on another matrix"),
    ),
)  # fmt: skip
