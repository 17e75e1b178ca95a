"""Sample quality: closed forms for normal laws, exact transport on lines, unbiased estimates with their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from theorylab import diffusion
from theorylab.diffusion import frechet_distance, gaussian_wasserstein, mmd, sliced_wasserstein
from theorylab.numerics import normal

KEY = jax.random.key(0)
RUNS = 400


def covariance(seed, d=5):
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T


def test_distance_of_normal_laws_against_scipy():
    A, B, mean = covariance(0), covariance(1), np.arange(5.0)
    root = sqrtm(A)
    expected = mean @ mean + np.trace(A + B - 2 * np.real(sqrtm(root @ B @ root)))
    assert float(gaussian_wasserstein(mean, A, np.zeros(5), B)) == pytest.approx(expected, rel=1e-12)
    assert float(gaussian_wasserstein(np.zeros(5), B, mean, A)) == pytest.approx(expected, rel=1e-12)


def test_distance_of_normal_laws_in_closed_form(dtype):
    """Commuting covariances, of which some directions vanish; laws on lines; equal ones."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    a, b, zero = np.asarray([4.0, 1.0, 0.0, 0.0]), np.asarray([1.0, 1.0, 9.0, 0.0]), jnp.zeros(4, dtype)
    A, B = (jnp.asarray(turn * values @ turn.T, dtype) for values in (a, b))
    # the roots of eigenvalues which are zero but for rounding are dropped, and the trace has rounding alone
    tolerance = 100 * float(jnp.finfo(dtype).eps) * 15
    assert float(gaussian_wasserstein(zero, A, zero, B)) == pytest.approx(1 + 9, abs=tolerance)
    assert 0 <= float(gaussian_wasserstein(zero, A, zero, A)) < tolerance
    u, v = np.asarray([1.0, 2.0, 0.0, 2.0]), np.asarray([0.0, 3.0, 4.0, 0.0])
    lines = [jnp.asarray(np.outer(w, w), dtype) for w in (u, v)]
    expected = u @ u + v @ v - 2 * abs(u @ v)
    assert float(gaussian_wasserstein(zero, lines[0], zero, lines[1])) == pytest.approx(expected, abs=3 * tolerance)


def test_frechet_distance_of_samples_and_features():
    x, y = normal(KEY, (2, 40, 3))
    y = 2 * y + 1
    moments = [(np.mean(one, 0), np.cov(np.asarray(one).T)) for one in (x, y)]
    expected = float(gaussian_wasserstein(*moments[0], *moments[1]))
    assert float(frechet_distance(x, y)) == pytest.approx(expected, rel=1e-12)
    turn = jnp.linalg.qr(normal(KEY, (3, 3)))[0]
    features = jax.tree_util.Partial(lambda turn, point: turn @ point + 5, turn)
    assert float(frechet_distance(x, y, features=features)) == pytest.approx(expected, rel=1e-10)
    assert float(frechet_distance(x, x + jnp.asarray([[3.0, 4.0, 0.0]]))) == pytest.approx(25, rel=1e-10)


def test_fewer_samples_than_entries(dtype):
    """A null space: the translation alone is seen, up to the rounding of a trace of 30 entries near one."""
    x = normal(KEY, (10, 30), dtype)
    error = abs(float(frechet_distance(x, x + 1)) - 30)
    assert error < 30 * 30 * float(jnp.finfo(dtype).eps)


def test_transport_on_a_line_of_unequal_samples_is_that_of_their_copies():
    x, y = (normal(jax.random.key(seed), (n, 1)) for seed, n in ((1, 4), (2, 6)))
    copies = np.sort(np.repeat(x[:, 0], 3)), np.sort(np.repeat(y[:, 0], 2))
    expected = np.sqrt(np.mean((copies[0] - copies[1]) ** 2))
    assert float(sliced_wasserstein(x, y, KEY, projections=3)) == pytest.approx(expected, rel=1e-12)


def test_transport_of_one_sample_against_optimal_assignment():
    from scipy.optimize import linear_sum_assignment

    x, y = (np.random.default_rng(seed).normal(size=(7, 1)) for seed in (1, 2))
    cost = (x - y.T) ** 2
    rows, columns = linear_sum_assignment(cost)
    found = float(sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), KEY, projections=2))
    assert found**2 == pytest.approx(cost[rows, columns].mean(), rel=1e-12)


def test_sliced_distance_under_translation_scaling_and_turns():
    x = normal(KEY, (50, 3))
    y = normal(jax.random.key(1), (30, 3)) * 2
    v = jnp.asarray([[1.0, -2.0, 2.0]])
    # (theta . v)^2 is |v|^2 times a Beta(1/2, 1) variable, of mean 1/3 and variance 4/45
    squares = float(sliced_wasserstein(x, x + v, KEY, projections=2000)) ** 2
    assert abs(squares / 9 - 1 / 3) < 4 * np.sqrt(4 / 45 / 2000)
    base = float(sliced_wasserstein(x, y, KEY))
    assert float(sliced_wasserstein(y, x, KEY)) == pytest.approx(base, rel=1e-12)
    assert float(sliced_wasserstein(3 * x + 7, 3 * y + 7, KEY)) == pytest.approx(3 * base, rel=1e-12)
    assert float(sliced_wasserstein(x[::-1], y[::-1], KEY)) == pytest.approx(base, rel=1e-12)
    assert float(sliced_wasserstein(x, jnp.concatenate([x, x]), KEY)) < 1e-12


def plain_mmd(x, y, h):
    def mean(a, b, same):
        k = np.exp(-np.sum((a[:, None] - b[None]) ** 2, axis=-1) / (2 * h**2))
        return (k.sum() - len(a)) / (len(a) * (len(a) - 1)) if same else k.mean()

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_mmd_is_its_double_sum_and_takes_the_median_distance():
    x, y = np.asarray(normal(KEY, (7, 2))), np.asarray(normal(jax.random.key(1), (5, 2)))
    given = jnp.asarray(x), jnp.asarray(y)
    assert float(mmd(*given, bandwidth=0.7)[0]) == pytest.approx(plain_mmd(x, y, 0.7), abs=1e-14)
    z = np.concatenate([x, y])
    distances = np.linalg.norm(z[:, None] - z[None], axis=-1)[np.triu_indices(12, 1)]
    # the median of squares, whose root for an even count is not quite the median of the distances
    h = np.sqrt(np.median(distances**2))
    assert float(mmd(*given)[0]) == pytest.approx(plain_mmd(x, y, h), abs=1e-14)
    for moved in (mmd(given[0] + 100, given[1] + 100), mmd(-given[0], -given[1])):
        assert float(moved[0]) == pytest.approx(plain_mmd(x, y, h), abs=1e-12)


@pytest.fixture(scope="module")
def discrepancies():
    """Values and errors of many runs: 20 points against 30, of laws whose means differ by |v|."""

    @jax.jit
    def run(v):
        def one(key):
            x, y = (normal(k, (n, 2)) for k, n in zip(jax.random.split(key), (20, 30), strict=True))
            return mmd(x, y + v[None], bandwidth=1.0)

        return jax.vmap(one)(jax.random.split(KEY, RUNS))

    return lambda v: [np.asarray(part) for part in run(jnp.asarray(v))]


def test_mmd_of_equal_laws_has_mean_zero_and_its_standard_error(discrepancies):
    values, errors = discrepancies([0.0, 0.0])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(RUNS)
    # the spread of a spread, for values of kurtosis at most 9; beside it the bias of the estimate, of some 1/50
    assert abs(values.std() / np.sqrt(np.mean(errors**2)) - 1) < 4 * np.sqrt((9 - 1) / 4 / RUNS) + 1 / 50


def test_mmd_of_two_normal_laws_in_closed_form(discrepancies):
    """E k(x, y) = (h^2 / (h^2 + 2))^(d/2) exp(-|v|^2 / (2 (h^2 + 2))), here 1/3 at v = 0."""
    values, _ = discrepancies([1.0, 1.0])
    expected = 2 / 3 * (1 - np.exp(-2 / 6))
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(RUNS)


def test_points_that_are_all_one_have_no_discrepancy():
    value, error = mmd(jnp.ones((3, 2)), jnp.ones((4, 2)))
    assert float(value) == pytest.approx(0, abs=1e-15) and float(error) == pytest.approx(0, abs=1e-15)


def test_proportions_are_unbiased_where_modes_overlap():
    mixture = diffusion.GaussianMixture([[-0.5], [0.0], [1.0]], [0.25, 1.0, 0.5], [0.2, 0.3, 0.5])
    x = mixture.sample(KEY, batch=20_000)[0]
    shares, errors = diffusion.mode_proportions(x, lambda x: mixture.posterior(x, 1.0))
    assert float(jnp.sum(shares)) == pytest.approx(1, abs=1e-12)
    assert np.all(np.abs(shares - mixture.weights) < 4 * errors) and np.all(errors < 0.5 / np.sqrt(20_000))


def test_proportions_of_tokens_and_of_classes():
    """All rows of a sample count alike; of certain classes the error is that of a share."""
    table = jnp.asarray([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    shares, errors = diffusion.mode_proportions(
        jnp.asarray([[0.0], [1.0], [1.0], [0.0]]), lambda i: table[i[0].astype(int)]
    )
    assert shares.tolist() == [0.75, 0.25]
    assert np.allclose(errors, np.sqrt(4 * 0.25**2 / 3 / 4))


def test_chance_is_what_a_perfect_sample_shows():
    """Over many samples, the mean square of an error is that of its chance, within the errors of both."""
    law = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
    x = normal(KEY, (RUNS, 25, 2)) @ jnp.linalg.cholesky(law).T + 3
    found = jax.jit(jax.vmap(lambda x: diffusion.moment_errors(x, 3 * jnp.ones(2), law)))(x)
    for seen, chance in ((found.mean, found.mean_chance), (found.covariance, found.covariance_chance)):
        gaps = np.asarray(seen) ** 2 - np.asarray(chance) ** 2
        # the chance takes the sample's own second moment, whose square is too large by a share 1/n of the chance
        bias = 0 if seen is found.mean else np.mean(np.asarray(chance) ** 2) / 24
        assert abs(gaps.mean() - bias) < 4 * gaps.std() / np.sqrt(RUNS)


def test_bad_input_is_named():
    x, y = jnp.zeros((3, 2)), jnp.zeros((4, 3))
    for distance in (mmd, frechet_distance, lambda x, y: sliced_wasserstein(x, y, KEY)):
        with pytest.raises(ValueError, match=r"x is float64 \(3, 2\) and y float64 \(4, 3\)"):
            distance(x, y)
        with pytest.raises(ValueError, match=r"x has the shape \(1, 2\): pass at least two samples"):
            distance(x[:1], x)
    with pytest.raises(ValueError, match=r"bandwidth = 0.0 must be positive"):
        mmd(x, x, bandwidth=0.0)
    with pytest.raises(ValueError, match=r"projections = 0 must be"):
        sliced_wasserstein(x, x, KEY, projections=0)
    with pytest.raises(ValueError, match=r"mean has the shape \(3,\) and covariance \(2, 2\)"):
        diffusion.moment_errors(x, jnp.zeros(3), jnp.eye(2))
    with pytest.raises(ValueError, match=r"covariance_y have shapes"):
        gaussian_wasserstein(jnp.zeros(2), jnp.eye(2), jnp.zeros(2), jnp.eye(3))
