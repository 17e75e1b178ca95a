"""Whether a matrix was recovered: what `robust_recovery` says of random problems, against their true errors; and what a
loss at its minimum says of factors that are too wide."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Verdict

OUTCOMES = ("recovered", "undecided", "not_recovered")
ALLOWED = 1e-2


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


def minimised(problem, width):
    """Whether Polyak steps with factors of a width end at a loss that is no larger than that of the truth, and the
    error there."""
    import jax.numpy as jnp

    L, R = lowrank.truncated_spectral_init(problem, 6)
    columns = (jnp.arange(6) < width).astype(L.dtype)[None]
    start = (L * columns, R * columns)
    run = tl.solve(lowrank.PreconditionedSubgradient(1e-3), problem, start, key=0, steps=1000)
    return problem.loss(run.value) <= problem.minimum + 1e-6 * run.state.zero_loss, problem.error(run.value)


def run_outcomes(size, key):
    import jax
    import xarray

    kinds = ("identity",) if size == "small" else ("identity", "entries", "Gaussian", "rank one", "linear map")
    shape, ranks, counts, problems, steps, most_outliers = {
        "small": ((14, 12), 2, (), 8, 400, 0.3),
        "paper": ((30, 24), 4, (160, 320, 640), 200, 1000, 0.5),
        "large": ((60, 50), 6, (800, 1600, 2800), 1000, 1000, 0.5),
    }[size]
    of_problems, of_widths = jax.random.split(key)
    found = np.empty((4, len(kinds), problems))
    for i, kind in enumerate(kinds):
        for j, one in enumerate(jax.random.split(jax.random.fold_in(of_problems, i), problems)):
            rng = tl.keys.generator(one)
            of_operator, of_truth, of_errors, of_held = jax.random.split(one, 4)
            true_rank, condition = int(rng.integers(1, ranks + 1)), rng.choice([1.0, 3.0, 10.0])
            truth = lowrank.low_rank_matrix(of_truth, shape, true_rank, condition)
            outliers, scale = rng.uniform(0, most_outliers), np.exp(rng.uniform(np.log(0.3), np.log(30)))
            measured = operator(kind, of_operator, shape, int(rng.choice(counts)) if counts else 0)
            problem = lowrank.corrupted_problem(of_errors, measured, truth, outliers=outliers, outlier_scale=scale)
            recovery = lowrank.robust_recovery(measured, problem.observations, rank=2 * ranks, key=of_held, steps=steps)
            found[:, i, j] = (OUTCOMES.index(recovery.outcome), problem.error(recovery.factors), outliers,
                              recovery.held_out.agreeing)  # fmt: skip

    widths = np.arange(1, 7)
    problem = lowrank.completion_problem(of_widths, shape=shape, true_rank=2, outliers=0.1)
    at_minimum, width_error = jax.jit(jax.vmap(minimised, (None, 0)))(problem, widths)
    dims = ("kind", "problem")
    names = ("outcome", "error", "outliers", "agreeing")
    return xarray.Dataset(
        {name: (dims, values) for name, values in zip(names, found, strict=True)}
        | {"width_error": ("width", width_error), "at_minimum": ("width", at_minimum)},
        {"kind": list(kinds), "width": widths},
    )


def plot_outcomes(dataset):
    figure, axes = figures.panels(2)
    rng = np.random.default_rng(0)
    for i, kind in enumerate(dataset.kind.values):
        one = dataset.sel(kind=kind)
        heights = (
            one.outcome + (i - (dataset.sizes["kind"] - 1) / 2) * 0.12 + rng.uniform(-0.04, 0.04, one.outcome.shape)
        )
        axes[0].plot(one.error, heights, ".", color=figures.COLOURS[i], markersize=4, label=str(kind))
    axes[0].axvline(ALLOWED, color="black", linestyle="--", label="allowed error")
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


def check_called_recovered(dataset):
    error = dataset.error.where(dataset.outcome == OUTCOMES.index("recovered"))
    return Verdict.compare(error.max(), "<=", ALLOWED, quantity='largest relative error of what is called "recovered"')


def check_missed(dataset):
    """The count that chance allows, at three sigma, where 1 % are wrong."""
    missed = dataset.outcome == OUTCOMES.index("not_recovered")
    wrong, total = (missed & (dataset.error <= ALLOWED)).sum(), missed.sum()
    return Verdict.compare(
        wrong, "<=", most(total, 0.01), quantity=f'right matrices among {int(total)} "not_recovered"'
    )


def check_undecided(dataset):
    """The count that chance allows, at three sigma, where 5 % are undecided."""
    undecided = (dataset.outcome == OUTCOMES.index("undecided")).sum()
    quantity = f"undecided among {dataset.outcome.size} problems"
    return Verdict.compare(undecided, "<=", most(dataset.outcome.size, 0.05), quantity=quantity)


def check_minimum(dataset):
    """The largest error among the runs whose loss is at its minimum."""
    worst = dataset.width_error.where(dataset.at_minimum).max()
    return Verdict.compare(worst, "<=", ALLOWED, quantity="largest relative error of a run at the minimum of its loss")


def most(total, share):
    from scipy import stats

    return stats.binom.ppf(0.99865, int(total), share)
