"""The truncated spectral start: a truncated decomposition, near the truth as the measurements grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import lowrank, numerics

KEY = jax.random.key(0)


def test_it_is_the_truncated_decomposition(corrupted, cast, dtype):
    problem = cast(corrupted, dtype)
    L, R = lowrank.truncated_spectral_init(problem, 3, outliers=0.15, imbalance=4.0)
    y, A = np.asarray(problem.observations, float), np.asarray(problem.operator.matrices, float)
    kept = np.argsort(np.abs(y))[: int(np.ceil(400 * 0.85))]
    Y = np.einsum("k,kij->ij", y[kept], A[kept]) / (400 * np.mean(A**2))
    U, values, Vt = np.linalg.svd(Y)
    best = (U[:, :3] * values[:3]) @ Vt[:3]
    tolerance = 1000 * np.finfo(dtype).eps * values[0]
    assert L.dtype == R.dtype == dtype
    np.testing.assert_allclose(L @ R.T, best, rtol=0, atol=tolerance)
    for factor, scale in ((L, 16.0), (R, 1 / 16)):  # the product does not see the imbalance, the Gram matrices do
        np.testing.assert_allclose(factor.T @ factor, scale * np.diag(values[:3]), rtol=0, atol=16 * tolerance)


def test_all_entries_give_the_matrix():
    X = lowrank.low_rank_matrix(KEY, (6, 5), 2, condition=3.0)
    problem = lowrank.SensingProblem(lowrank.IdentitySensing((6, 5)), X.reshape(-1))
    L, R = lowrank.truncated_spectral_init(problem, 2, outliers=0.0, imbalance=1.0)
    np.testing.assert_allclose(L @ R.T, X, rtol=0, atol=1e-13)
    norms = jnp.sum(L**2) + jnp.sum(R**2)
    np.testing.assert_allclose(norms / 2, jnp.linalg.norm(X, "nuc"), rtol=1e-13)  # the variational nuclear norm


def test_the_error_falls_like_the_root_of_the_measurements():
    """Clean data; means over twelve problems, the sizes being first parts of one set of measurements."""
    sizes, keys = [100, 400, 1600], jax.random.split(KEY, 12)
    build = jax.jit(jax.vmap(lambda key: lowrank.sensing_problem(key, shape=(6, 6), true_rank=1, measurements=1600)))
    problems = build(keys)

    def error(problem, m):
        operator = lowrank.GaussianSensing.from_matrices(problem.operator.matrices[:m])
        part = lowrank.SensingProblem(operator, problem.observations[:m], solution=problem.solution)
        return part.error(lowrank.truncated_spectral_init(part, 1, outliers=0.0))

    errors = [jax.jit(jax.vmap(lambda problem, m=m: error(problem, m)))(problems) for m in sizes]
    means, bars = [np.mean(e) for e in errors], [np.std(e, ddof=1) / np.sqrt(12) for e in errors]
    fit = numerics.loglog_slope(sizes, numerics.Estimate(means, bars))
    assert abs(fit.value + 0.5) < 4 * fit.standard_error


@pytest.mark.parametrize("outliers", [0.2, None], ids=["known fraction", "unknown"])
def test_outliers_are_left_out(outliers):
    problem = lowrank.sensing_problem(KEY, shape=(8, 8), true_rank=1, measurements=2000, outliers=0.2)
    x = lowrank.truncated_spectral_init(problem, 1, outliers=outliers)
    alignment = jnp.vdot(x[0] @ x[1].T, problem.solution) / jnp.linalg.norm(x[0] @ x[1].T)
    plain = lowrank.truncated_spectral_init(problem, 1, outliers=0.0)
    of_plain = jnp.vdot(plain[0] @ plain[1].T, problem.solution) / jnp.linalg.norm(plain[0] @ plain[1].T)
    assert alignment > 0.9 and alignment > of_plain


def test_bad_input(corrupted):
    zero = lowrank.SensingProblem(lowrank.IdentitySensing((2, 2)), np.zeros(4))
    sparse = lowrank.SensingProblem(lowrank.IdentitySensing((2, 2)), [0.0, 0.0, 0.0, 1.0])
    for problem, rank, options, message in (
        (corrupted, 0, {}, "rank = 0 must be an integer from 1 to 10"),
        (corrupted, 11, {}, "rank = 11"),
        (corrupted, 2, {"outliers": 1.0}, r"outliers = 1.0 must lie in \[0, 1\)"),
        (corrupted, 2, {"imbalance": 0.0}, "imbalance = 0.0 must be positive"),
        (zero, 1, {}, "observations are all zero"),
        (sparse, 1, {}, "no measurement that is kept differs from zero"),
    ):
        with pytest.raises(ValueError, match=message):
            lowrank.truncated_spectral_init(problem, rank, **options)
