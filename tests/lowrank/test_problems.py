"""Corrupted low-rank problems: the truth, the errors, and what follows from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import lowrank

KEY = jax.random.key(0)
IDENTITY = lowrank.IdentitySensing((2, 2))


@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (4, 4)])
def test_singular_values(shape):
    X = lowrank.low_rank_matrix(KEY, shape, 3, condition=5.0)
    values = np.linalg.svd(X)[1]
    np.testing.assert_allclose(values[:3], [5.0, 3.0, 1.0], rtol=1e-13)
    assert np.abs(values[3:]).max() < 1e-14


def test_factors_are_independent():
    """Of the released code's truth the trace is the sum of the singular values; of ours it has mean zero."""
    keys = jax.random.split(KEY, 400)
    traces = jax.vmap(lambda key: jnp.trace(lowrank.low_rank_matrix(key, (6, 6), 1)))(keys)
    # <u, v> of two random directions in six dimensions has the variance 1/6
    assert abs(traces.mean()) < 4 / np.sqrt(6 * 400) and abs((traces**2).mean() - 1 / 6) < 0.06


def test_outliers():
    clean, dirty = (
        lowrank.sensing_problem(KEY, shape=(6, 5), true_rank=2, measurements=2000, outliers=p, outlier_scale=7.0)
        for p in (0.0, 0.2)
    )
    assert jnp.all(clean.solution == dirty.solution) and not jnp.any(clean.noise)
    hit = np.asarray(dirty.observations != clean.observations)
    assert abs(hit.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    sizes = np.asarray(dirty.noise)[hit] / (7 * np.abs(clean.observations).max())
    assert np.abs(sizes).max() <= 1 + 1e-12 and abs(sizes.mean()) < 4 / np.sqrt(3 * hit.sum())
    assert abs((sizes**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / hit.sum())  # the moments of U(-1, 1)
    half = lowrank.sensing_problem(KEY, shape=(6, 5), true_rank=2, measurements=2000, outliers=0.1)
    assert not np.any(np.asarray(half.noise != 0) & ~hit)  # supports of one key are nested


def test_mirrored_outliers_are_another_truth():
    X = lowrank.low_rank_matrix(KEY, (5, 5), 1)
    operator = lowrank.GaussianSensing(jax.random.key(1), (5, 5), 300)
    problem = lowrank.corrupted_problem(jax.random.key(2), operator, X, outliers=0.3, kind="mirrored")
    hit = np.asarray(problem.noise != 0)
    assert 40 < hit.sum() < 140
    np.testing.assert_allclose(problem.observations[hit], -operator.apply(X)[hit], rtol=1e-12)


def test_facts(dtype, cast):
    y, X = np.asarray([1, 2, -3, 4], dtype), np.asarray([[1, 2], [0, 0]], dtype)
    problem = lowrank.SensingProblem(IDENTITY, y, solution=X)
    assert problem.noise.tolist() == [0, 0, -3, 4] and problem.true_rank == 1
    assert float(problem.minimum) == 7 / 4
    x = jnp.asarray([[1], [0]], dtype), jnp.asarray([[1], [2]], dtype)
    assert float(problem.loss(x)) == 7 / 4 and float(problem.error(x)) == 0 and problem.loss(x).dtype == dtype
    assert problem.residual(x).tolist() == [0, 0, 3, -4]
    twice = 2 * x[0], x[1]
    assert float(problem.error(twice)) == 1


def test_completion_and_robust_pca():
    given = {"shape": (6, 5), "true_rank": 2, "condition": 2.0, "outliers": 0.3}
    full, part = lowrank.completion_problem(KEY, **given), lowrank.completion_problem(KEY, measurements=12, **given)
    sensed = lowrank.sensing_problem(KEY, measurements=100, **given)
    assert jnp.all(full.solution == sensed.solution) and jnp.all(part.solution == sensed.solution)
    assert full.observations.shape == (30,) and part.observations.shape == (12,)
    clean = np.asarray(part.noise == 0)
    entries = part.solution[part.operator.rows, part.operator.columns]
    assert np.array_equal(np.asarray(part.observations)[clean], np.asarray(entries)[clean])


def test_under_transformations():
    """Lanes of fractions share the operator and all draws."""

    def noise(p, condition):
        return lowrank.sensing_problem(
            KEY, shape=(4, 4), true_rank=2, measurements=30, condition=condition, outliers=p
        ).noise

    ps, conditions = jnp.asarray([0.0, 0.4]), jnp.asarray([1.0, 3.0])
    lanes = jax.jit(jax.vmap(noise))(ps, conditions)
    for i in range(2):
        np.testing.assert_allclose(lanes[i], noise(float(ps[i]), float(conditions[i])), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lowrank.SensingProblem(IDENTITY, np.ones(3)), r"observations has the shape \(3,\), not \(4,\)"),
        (lambda: lowrank.SensingProblem(IDENTITY, [1.0, np.nan, 0, 0]), r"observations\[1\] is not finite"),
        (
            lambda: lowrank.SensingProblem(IDENTITY, np.ones(4), solution=np.ones((2, 3))),
            r"solution has the shape \(2, 3\)",
        ),
        (
            lambda: lowrank.SensingProblem(IDENTITY, np.ones(4), solution=[[1, 2], [np.inf, 0]]),
            r"solution\[1, 0\] is not",
        ),
        (lambda: lowrank.SensingProblem(IDENTITY, np.ones(4), minimum=-1.0), "minimum = -1.0 is negative"),
        (lambda: lowrank.SensingProblem(IDENTITY, np.ones(4), minimum=np.ones(4)), r"minimum has the shape \(4,\)"),
        (lambda: lowrank.SensingProblem(IDENTITY, np.ones(4)).error((jnp.ones((2, 1)),) * 2), "pass solution="),
        (lambda: lowrank.low_rank_matrix(KEY, (4, 3), 4), "true_rank = 4 must be an integer from 1 to 3"),
        (lambda: lowrank.low_rank_matrix(KEY, (4, 3), 2, condition=0.5), "condition = 0.5"),
        (
            lambda: lowrank.completion_problem(KEY, shape=(4, 3), true_rank=1, outliers=1.0),
            r"outliers = 1.0 .* \[0, 1\)",
        ),
        (lambda: lowrank.completion_problem(KEY, shape=(4, 3), true_rank=1, outliers=-0.1), "outliers = -0.1"),
        (
            lambda: lowrank.completion_problem(KEY, shape=(4, 3), true_rank=1, outlier_scale=-1.0),
            "outlier_scale = -1.0",
        ),
        (lambda: lowrank.corrupted_problem(KEY, IDENTITY, jnp.eye(2), kind="salt"), "kind must be 'uniform' or"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
