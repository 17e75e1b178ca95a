"""Races of robust recovery through Gaussian measurements: over condition numbers, ranks and outlier fractions."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.lowrank as lowrank
from theorylab.numerics import Estimate

RATE, WITHOUT, OUTLIER, TRIALS, FREE, LIMIT, HERE, CLAIMED = (
    "main theorem (abstract)",
    "first version (abstract)",
    "main theorem, with outliers (abstract)",
    "experiments (released code)",
    "published version (abstract)",
    "mixed-norm RIP and S-outlier bound",
    "derived here",
    "rate of scaled subgradient steps, reconstructed",
)
EVERY, OUTLIERS = 5, 0.1
FLOOR = 1e-11  # errors above it do not know of rounding
LOST = 1e-2  # what the library calls recovered is no further off
ERROR = r"$|X_t - X^\star| / |X^\star|$"
CONTRACTION = "largest contraction factor of a step"


def problems(operator, true_rank, width, settings) -> Any:
    """Observations, truths and spectral starts of many problems of one operator, by lane."""
    import jax
    import jax.numpy as jnp

    def one(operator, lane):
        of_truth, of_errors = jax.random.split(lane["key"])
        truth = lowrank.low_rank_matrix(of_truth, operator.shape, true_rank, lane["condition"])
        problem = lowrank.corrupted_problem(of_errors, operator, truth, outliers=lane["outliers"])
        start = lowrank.truncated_spectral_init(problem, width, outliers=lane["outliers"])
        # a column that is zero stays zero, so that lanes of one width have ranks of their own
        kept = (jnp.arange(width) < lane["rank"]).astype(truth.dtype)[None]
        return problem.observations, truth, tuple(factor * kept for factor in start)

    # one after the other: on CPUs XLA's batched decompositions can wait for each other for ever
    together = jax.jit(lambda operator, lanes: jax.lax.map(lambda lane: one(operator, lane), lanes))
    return together(operator, settings)


def race(operator, keys, true_rank, steps, **settings) -> Any:
    """Relative errors by step and contraction factors, over all dimensions of `rank`, `damping`, `condition`,
    `outliers` and `draw`, numbers or labelled arrays. Lanes share the operator: a step is a matrix product."""
    import xarray

    settings = {"condition": 5.0, "outliers": OUTLIERS, "draw": 0, **settings}
    tables = xarray.broadcast(*map(xarray.DataArray, settings.values()))
    lanes = {name: table.values.ravel() for name, table in zip(settings, tables, strict=True)}
    lanes["key"], damping = keys[lanes.pop("draw")], lanes.pop("damping")
    cases = tl.Cases(problems(operator, true_rank, int(lanes["rank"].max()), lanes), dim="lane")

    def build(key, *, case, damping):
        observations, truth, start = case
        problem = lowrank.SensingProblem(operator, observations, solution=truth)
        return lowrank.PreconditionedSubgradient(damping), problem, start

    record = tl.Record(tl.every(EVERY), error=lambda problem, state: problem.error(state.x))
    over = {"case": cases, "damping": xarray.DataArray(np.asarray(damping, float), dims="lane")}
    runs = tl.sweep(build, over=over, key=0, steps=steps, record=record, lanes="vmap")
    shape, coords = tables[0].shape, {**tables[0].coords, "step": runs.step}
    error = xarray.DataArray(runs.error.values.reshape(*shape, -1), coords, (*tables[0].dims, "step"))
    return contraction(error)


def contraction(error, start=1e-3) -> Any:
    """The errors, and the factor of a step from where they are below a level (or their last third) on."""
    import xarray

    def fit(values, steps):
        late = np.flatnonzero((values < start) & (values > FLOOR))
        late = late if len(late) > 5 else np.arange(2 * len(values) // 3, len(values))
        return tuple(lowrank.measured_contraction(values[late], steps[late], floor=FLOOR / 1e3))

    factor, doubt = xarray.apply_ufunc(
        fit, error, error.step, input_core_dims=[["step"], ["step"]], output_core_dims=[[], []], vectorize=True
    )
    return xarray.Dataset({"error": error, "contraction": factor, "contraction_error": doubt})


def factor(**places) -> Any:
    """The contraction factor of runs, as an estimate."""

    def read(dataset):
        one = dataset.sel(places)
        return Estimate(one.contraction, one.contraction_error)

    return read


def claimed(outliers) -> Any:
    return lowrank.claims.opsa_robust_recovery.contraction(lowrank.gaussian_constants(float(outliers)).chi)
