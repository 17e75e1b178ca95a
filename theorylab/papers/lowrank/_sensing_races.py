"""Races of robust recovery through Gaussian measurements: over condition numbers, ranks and outlier fractions."""

import warnings
from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Verdict, mean_and_error

EVERY = 5
FLOOR = 1e-11  # errors above it do not know of rounding
ROUNDED = 4096 * np.finfo(float).eps  # sums of some thousand measurements, at condition numbers of a few
LOST = 1e-2  # what the library calls recovered is no further off


def draw(operator, keys, true_rank, width, condition: Any, outliers: Any, rank: Any = None) -> Any:
    """Observations, truths and spectral starts of many problems of one operator, by lane."""
    import jax
    import jax.numpy as jnp

    def one(operator, lane):
        key, condition, outliers, rank = lane
        of_truth, of_errors = jax.random.split(key)
        truth = lowrank.low_rank_matrix(of_truth, operator.shape, true_rank, condition)
        problem = lowrank.corrupted_problem(of_errors, operator, truth, outliers=outliers)
        L, R = lowrank.truncated_spectral_init(problem, width, outliers=outliers)
        # a column that is zero stays zero, so that lanes of one width have ranks of their own
        kept = (jnp.arange(width) < rank).astype(L.dtype)[None]
        return problem.observations, truth, (L * kept, R * kept)

    settings = [
        jnp.broadcast_to(jnp.asarray(one), len(keys)) for one in (condition, outliers, width if rank is None else rank)
    ]
    # one after the other: on CPUs XLA's batched decompositions can wait for each other for ever
    together = jax.jit(lambda operator, lanes: jax.lax.map(lambda lane: one(operator, lane), lanes))
    return together(operator, (keys, *settings))


def race(operator, drawn, dampings, steps) -> Any:
    """Relative errors of every lane, (lane, step); the operator is shared, so that a step is one matrix product."""
    import jax
    import jax.numpy as jnp
    import xarray

    record = tl.Record(tl.every(EVERY), error=lambda problem, state: problem.error(state.x))

    @jax.jit
    def run(operator, drawn, dampings):
        def one(drawn, damping):
            observations, truth, start = drawn
            problem = lowrank.SensingProblem(operator, observations, solution=truth)
            method = lowrank.PreconditionedSubgradient(damping)
            return tl.solve(method, problem, start, key=0, steps=steps, record=record).trace["error"]

        return jax.vmap(one)(drawn, dampings)

    with warnings.catch_warnings():
        # which is what one of the experiments is about
        warnings.filterwarnings("ignore", "the sensing is too small")
        errors = np.asarray(run(operator, drawn, jnp.broadcast_to(jnp.asarray(dampings, float), len(drawn[0]))))
    return xarray.DataArray(errors, dims=("lane", "step"), coords={"step": np.arange(0, steps + 1, EVERY)})


def steps_to(errors, level) -> Any:
    """When errors are first at a level, on the line through log errors between records; the last step if never."""
    import xarray

    def first(values, steps):
        at = int(np.argmax(values <= level))
        if at == 0:
            return float(steps[0] if values[0] <= level else steps[-1])
        return np.interp(np.log(level), np.log(values[[at, at - 1]]), steps[[at, at - 1]])

    return xarray.apply_ufunc(first, errors, errors.step, input_core_dims=[["step"], ["step"]], vectorize=True)


def contraction(errors, start=1e-3) -> Any:
    """The factor of a step and its error bar, from where errors are below a level (or their last third) on."""
    import xarray

    def fit(values, steps):
        late = np.flatnonzero((values < start) & (values > FLOOR))
        late = late if len(late) > 5 else np.arange(2 * len(values) // 3, len(values))
        return lowrank.measured_contraction(values[late], steps[late], floor=FLOOR / 1e3)[:2]

    factor, error = xarray.apply_ufunc(
        fit, errors, errors.step, input_core_dims=[["step"], ["step"]], output_core_dims=[[], []], vectorize=True
    )
    return {"contraction": factor, "contraction_error": error}


# the condition number


OPSA, SCALED, PLAIN = "OPSA, $d = 2r$", "scaled subgradient, $d = r$", "subgradient, $d = 2r$"
COLOURS = dict(zip((OPSA, SCALED, PLAIN), figures.COLOURS, strict=False))
OUTLIERS, LEVEL, LEVELS = 0.1, 1e-6, (1e-2, 1e-4, 1e-6)
# three methods in one program: next to singular values of one and more these are no damping, that of the released
# experiment, and one so large that Polyak steps are those without preconditioner
DAMPINGS = {OPSA: 2.0, SCALED: 1e-14, PLAIN: 1e16}


def run_condition(size, key):
    import jax
    import xarray

    from ._two_layouts import TwoLayouts

    # the released experiment has 8 measurements for each of n r numbers, and one draw: too few for small matrices
    n, r, m, draws, steps = {"small": (20, 2, 520, 2, 1200), "paper": (100, 10, 8000, 1, 2500),
                             "large": (200, 10, 16_000, 2, 5000)}[size]  # fmt: skip
    conditions = [20.0, 40.0, 60.0, 80.0, 100.0]
    of_operator, of_lanes = jax.random.split(key)
    operator = TwoLayouts(of_operator, n, m)
    place = xarray.Dataset(coords={"solver": list(DAMPINGS), "draw": range(draws), "kappa": conditions})
    place = place.stack(lane=["solver", "draw", "kappa"])
    # the same draws for all condition numbers
    keys = jax.random.split(of_lanes, draws)[place.draw.values]
    widths = np.where(place.solver.values == SCALED, r, 2 * r)
    drawn = draw(operator, keys, r, 2 * r, place.kappa.values, OUTLIERS, widths)
    errors = race(operator, drawn, [DAMPINGS[name] for name in place.solver.values], steps)
    errors = errors.assign_coords(lane=place.lane).unstack("lane").sel(solver=list(DAMPINGS))
    digits = xarray.concat([steps_to(errors, level) for level in LEVELS], "level").assign_coords(level=list(LEVELS))
    chi = lowrank.gaussian_constants(OUTLIERS).chi
    return xarray.Dataset({"error": errors, "steps": steps_to(errors, LEVEL), "digits": digits, **contraction(errors)}
                          ).assign(claimed=lowrank.claims.opsa_robust_recovery.contraction(chi))  # fmt: skip


def plot_condition(dataset):
    dataset = dataset.isel(draw=0)
    figure, axes = figures.panels(2)
    shades = np.linspace(1.0, 0.35, dataset.sizes["kappa"])
    for method in dataset.solver.values:
        one = dataset.sel(solver=method)
        for k, (kappa, shade) in enumerate(zip(one.kappa.values, shades, strict=True)):
            errors = one.error.sel(kappa=kappa)
            figures.measured(
                axes[0], errors.step, errors, color=COLOURS[method], alpha=shade, linewidth=1.3,
                label="" if k else method,
            )  # fmt: skip
        reached = one.steps < one.step[-1]
        hollow = {} if reached.all() else {"markerfacecolor": "white"}
        figures.measured(axes[1], one.kappa, one.steps, color=COLOURS[method], marker="o", label=method, **hollow)
    start = dataset.error.isel(step=0).max()
    figures.predicted(
        axes[0], dataset.step, start * dataset.claimed**dataset.step, label=r"claimed rate, $\chi = 1.25$"
    )
    axes[0].set(yscale="log", ylim=(1e-15, 3), xlabel="step", ylabel=r"$|X_t - X^\star| / |X^\star|$",
                title=r"$\kappa = 20$ (dark) to 100 (light)")  # fmt: skip
    axes[1].set(yscale="log", xlabel=r"condition number $\kappa$", ylabel=f"steps to an error of {LEVEL:g}",
                title="hollow: not reached")  # fmt: skip
    figures.legend(axes)
    return figure


def check_linear(dataset):
    """The steps from one level to the next over those from the last one to it: one, if errors fall linearly.

    Errors that fall as a power p of the step have 100^(1/p): two tells linear convergence from all powers below six.
    """
    runs = dataset.sel(solver=OPSA)
    arrived = (runs.error.isel(step=-1) <= LEVELS[-1]).all()
    steps = runs.digits.where(arrived).diff("level")
    mean, error = mean_and_error(steps.isel(level=1) / steps.isel(level=0), ...)
    return Verdict.estimate(
        mean, "<=", 2.0, error, quantity="steps from 1e-4 to 1e-6, over those from 1e-2 to 1e-4, mean over runs"
    )


def check_kappa_free(method):
    """The order of the steps in the condition number, draws apart, against the middle between none and one."""

    def check(dataset):
        x = np.log(dataset.kappa) - np.log(dataset.kappa).mean()
        y = np.log(dataset.steps.sel(solver=method))
        y = y - y.mean("kappa")
        spread = (x**2).sum() * dataset.sizes["draw"]
        order = (x * y).sum() / spread
        error = np.sqrt(((y - order * x) ** 2).sum() / (y.size - dataset.sizes["draw"] - 1) / spread)
        return Verdict.estimate(order, "<=", 0.5, error, quantity="slope of log steps against log condition number")

    return check


def check_plain_stalls(dataset):
    last = np.log10(dataset.error.isel(step=-1))
    mean, error = mean_and_error(last.sel(solver=PLAIN) - last.sel(solver=OPSA), ...)
    return Verdict.estimate(mean, ">=", 0.0, error, quantity="decimal digits of OPSA beyond the plain method's, mean")


def check_claimed_rate(method):
    def check(dataset):
        one = dataset.sel(solver=method)
        return Verdict.worst(
            one.contraction, "<=", float(dataset.claimed), one.contraction_error,
            quantity="largest contraction factor of a step",
        )  # fmt: skip

    return check


# the rank of the truth


def run_rank(size, key):
    import jax
    import xarray

    from ._two_layouts import TwoLayouts

    n, ranks, seeds, steps = {"small": (20, (1, 4), 4, 250), "paper": (50, (1, 2, 5, 10), 8, 500),
                              "large": (100, (1, 2, 5, 10, 20), 16, 500)}[size]  # fmt: skip
    of_operator, of_lanes = jax.random.split(key)
    found = []
    for r in ranks:
        operator = TwoLayouts(jax.random.fold_in(of_operator, r), n, 16 * n * r)
        keys = jax.random.split(jax.random.fold_in(of_lanes, r), seeds)
        drawn = draw(operator, keys, r, 2 * r, 5.0, OUTLIERS)
        found.append(race(operator, drawn, 0.1, steps))
    errors = xarray.concat(found, "rank").assign_coords(rank=list(ranks)).rename(lane="seed")
    claimed = lowrank.claims.opsa_robust_recovery.contraction(lowrank.gaussian_constants(OUTLIERS).chi)
    return xarray.Dataset({"error": errors, **contraction(errors)}).assign(claimed=claimed)


def plot_rank(dataset):
    figure, axes = figures.panels(1)
    for rank, colour in zip(dataset["rank"].values, figures.COLOURS, strict=False):
        errors = dataset.error.sel(rank=rank)
        mean = np.exp(np.log(errors).mean("seed"))
        figures.measured(axes[0], errors.step, mean, color=colour, label=f"$r = {rank}$, $d = {2 * rank}$")
    figures.predicted(axes[0], dataset.step, dataset.claimed**dataset.step, label=r"claimed rate, $\chi = 1.25$")
    axes[0].set(yscale="log", ylim=(1e-15, 3), xlabel="step", ylabel=r"$|X_t - X^\star| / |X^\star|$",
                title=r"$m = 16\,n r$, a tenth of them outliers")  # fmt: skip
    figures.legend(axes)
    return figure


def check_rank_free(dataset):
    """The order in the rank of the logarithmic rate of a step, -ln q, against minus one half."""
    rate = -np.log(dataset.contraction)
    mean, error = mean_and_error(np.log(rate))
    x = np.log(dataset["rank"]) - np.log(dataset["rank"]).mean()
    order = (x * mean).sum() / (x**2).sum()
    return Verdict.estimate(
        order, ">=", -0.5, np.sqrt((x**2 * error**2).sum()) / (x**2).sum(),
        quantity="slope of the log of -ln(contraction factor) against log rank",
    )  # fmt: skip


def check_rank_rate(dataset):
    return Verdict.worst(
        dataset.contraction, "<=", float(dataset.claimed), dataset.contraction_error,
        quantity="largest contraction factor of a step",
    )  # fmt: skip


# surplus columns and outliers


SLIGHT = 0.2  # a damping well below the least singular value, one


def run_breakdown(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    from ._two_layouts import TwoLayouts

    n, r, ranks, steps = {"small": (24, 2, (2, 3, 4, 6, 10), 600), "paper": (50, 5, (5, 7, 10, 15, 20, 25), 2500),
                          "large": (100, 10, (10, 12, 15, 20, 30, 40, 50), 5000)}[size]  # fmt: skip
    fractions = [0.0, 0.1, 0.2, 0.3, 0.4]
    of_operator, of_lanes = jax.random.split(key)
    operator = TwoLayouts(of_operator, n, 2 * n * max(ranks))
    place = xarray.Dataset(coords={"rank": list(ranks), "outliers": fractions}).stack(lane=["rank", "outliers"])
    keys = jnp.stack([of_lanes] * place.sizes["lane"])
    drawn = draw(operator, keys, r, max(ranks), 5.0, place.outliers.values, place["rank"].values)
    errors = race(operator, drawn, SLIGHT, steps)
    errors = errors.assign_coords(lane=place.lane).unstack("lane")
    claimed = [lowrank.claims.opsa_robust_recovery.contraction(lowrank.gaussian_constants(p).chi) for p in fractions]
    return xarray.Dataset({"error": errors, **contraction(errors), "claimed": ("outliers", claimed), "true_rank": r})


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
    for rank, colour in zip((r, 2 * r), figures.COLOURS, strict=False):
        one = dataset.contraction.sel(rank=rank)
        figures.measured(axes[1], one.outliers, one, color=colour, marker="o", label=f"$d = {rank}$")
    figures.predicted(axes[1], dataset.outliers, dataset.claimed, label=r"claimed, $\chi = 1/(1 - 2p)$")
    axes[1].set(xlabel="outlier fraction $p$", ylabel="factor a step", title="contraction")
    figures.legend(axes[1])
    return figure


def at_the_end(rank, outliers) -> Any:
    """The final error by width, in units of the true rank, and outlier fraction; no number: the largest width."""

    def read(dataset):
        width = int(dataset["rank"].max()) if rank is None else rank * int(dataset.true_rank)
        return dataset.error.isel(step=-1).sel(rank=width, outliers=outliers)

    return read


def check_recovered(rank, outliers):
    return lambda dataset: Verdict.compare(
        at_the_end(rank, outliers)(dataset), "<=", 0.0, ROUNDED, quantity="relative error at the end"
    )


def check_lost(rank, outliers):
    return lambda dataset: Verdict.compare(
        at_the_end(rank, outliers)(dataset), ">=", LOST, quantity="relative error at the end"
    )


def check_width_slower(dataset):
    """The contraction factor of clean data at the largest width less that at the true rank."""
    ends = dataset.sel(outliers=0.0).isel(rank=[0, -1])
    gap, error = ends.contraction.diff("rank"), np.sqrt((ends.contraction_error**2).sum("rank"))
    return Verdict.estimate(
        gap.isel(rank=0),
        ">=",
        0.0,
        error,
        quantity="contraction factor at the largest width, less that at the true rank",
    )


def check_outlier_rate(dataset):
    """The excess over the claimed factor at the true rank, over the fractions that are recovered from."""
    one = dataset.sel(rank=int(dataset.true_rank), outliers=slice(0.3))
    return Verdict.worst(
        one.contraction - one.claimed, "<=", 0.0, one.contraction_error,
        quantity="largest contraction factor less the claimed one",
    )  # fmt: skip
