"""Gaussian mixtures of every kind of covariance: against SciPy's densities, derivatives, and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from theorylab import diffusion

rng = np.random.default_rng(0)
K, D, LEVEL = 3, 2, 0.6
MEANS, WEIGHTS = 2 * rng.normal(size=(K, D)) + 5, np.asarray([0.2, 0.3, 0.5])
ROOTS = rng.normal(size=(K, D, D))
COVARIANCES = {
    "common": 0.3,
    "isotropic": rng.random(K),
    "diagonal": rng.random((K, D)),
    "full": ROOTS @ ROOTS.transpose(0, 2, 1),
}
POINTS = {"point": jnp.asarray(rng.normal(size=D) + 3), "tokens": jnp.asarray(rng.normal(size=(4, D)) + 3)}


def law(kind, latent="iid"):
    return diffusion.GaussianMixture(MEANS, COVARIANCES[kind], WEIGHTS, latent=latent)


@jax.jit
def derivatives(mixture, x):
    def log_density(flat):
        return mixture.log_density(flat.reshape(x.shape), LEVEL)

    flat = x.ravel()
    variance = 1 + (1 - LEVEL) * jnp.trace(jax.hessian(log_density)(flat)) / x.size
    own = mixture.score(x, LEVEL), mixture.noise_variance(x, LEVEL)
    return log_density(flat), jax.grad(log_density)(flat).reshape(x.shape), variance, own


@jax.jit
def likelihood(mixture, points):
    """The logarithm of the likelihood of clean points, nearly: of level 1 - 1e-9."""
    return jnp.sum(jax.vmap(lambda x: mixture.log_density(jnp.sqrt(1 - 1e-9) * x, 1 - 1e-9))(points))


@pytest.mark.parametrize("shape", POINTS)
@pytest.mark.parametrize("latent", ["iid", "shared"])
@pytest.mark.parametrize("kind", COVARIANCES)
def test_density_score_and_posterior_variance(kind, latent, shape):
    mixture, x = law(kind, latent), POINTS[shape]
    logs = np.stack(
        [
            multivariate_normal(np.sqrt(LEVEL) * MEANS[k], LEVEL * C + (1 - LEVEL) * np.eye(D)).logpdf(np.atleast_2d(x))
            for k, C in enumerate(np.asarray(mixture.covariances))
        ]
    ).reshape(K, -1)
    expected = np.log(WEIGHTS @ np.exp(logs)).sum() if latent == "iid" else np.log(WEIGHTS @ np.exp(logs.sum(axis=1)))
    density, score, variance, (own_score, own_variance) = derivatives(mixture, x)
    assert float(density) == pytest.approx(expected, abs=1e-12)
    assert np.allclose(own_score, score, atol=1e-12)
    assert float(own_variance) == pytest.approx(float(variance), abs=1e-12)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_covariances_and_samples(kind):
    mixture, given = law(kind), np.asarray(COVARIANCES[kind])
    C = np.asarray(mixture.covariances)
    full = given if given.ndim == 3 else np.broadcast_to(given.reshape(*given.shape, *[1] * (2 - given.ndim)), (K, D))
    full = full if full.ndim == 3 else full[..., None] * np.eye(D)
    assert np.allclose(C, full, atol=1e-14)
    x0, labels = mixture.sample(jax.random.key(0), batch=30_000)
    assert np.abs(np.mean(np.asarray(labels)[:, None] == np.arange(K), axis=0) - WEIGHTS).max() < 4 * 0.5 / np.sqrt(3e4)
    for k in range(K):
        own = np.asarray(x0)[np.asarray(labels) == k] - MEANS[k]
        products = own[:, :, None] * own[:, None]
        error = products.std(axis=0) / np.sqrt(len(own))
        assert np.all(np.abs(products.mean(axis=0) - C[k]) < 4 * error)
        assert np.all(np.abs(own.mean(axis=0)) < 4 * own.std(axis=0) / np.sqrt(len(own)))


@pytest.mark.parametrize("kind", COVARIANCES)
def test_the_oracle_inverts_one_covariance(kind):
    mixture = law(kind)
    x0, labels = mixture.sample(jax.random.key(1), batch=1, tokens=5)
    found = np.asarray(
        jax.jit(jax.vmap(lambda law, x, k: law.oracle_noise(x, LEVEL, k), (None, 0, 0)))(mixture, x0, labels)
    )
    x0, labels, covariances = (np.asarray(one) for one in (x0, labels, mixture.covariances))
    for p, k in enumerate(labels[0]):
        noisy = LEVEL * covariances[k] + (1 - LEVEL) * np.eye(D)
        expected = np.sqrt(1 - LEVEL) * np.linalg.solve(noisy, x0[0, p] - np.sqrt(LEVEL) * MEANS[k])
        assert np.allclose(found[0, p], expected, atol=1e-12)


def test_latents_differ_in_their_samples():
    shared = law("full", "shared").sample(jax.random.key(0), batch=200, tokens=4)[1]
    independent = law("full").sample(jax.random.key(0), batch=200, tokens=4)[1]
    assert np.all(shared == shared[:, :1]) and not np.all(independent == independent[:, :1])


def test_zero_variances_are_points():
    mixture = diffusion.GaussianMixture([[1.0, 0.0], [-1.0, 0.0]], np.zeros((2, 2, 2)), [0.5, 0.5])
    x0, labels = mixture.sample(jax.random.key(0), batch=5)
    assert np.array_equal(x0, mixture.means[labels])
    assert np.allclose(mixture.expected_clean(jnp.asarray([5.0, 0.0]), 0.9), [1.0, 0.0], atol=1e-12)


def test_one_component_is_a_wiener_filter(dtype):
    C = np.asarray([[2.0, 0.5], [0.5, 1.0]])
    mixture = diffusion.GaussianMixture(jnp.asarray([[1.0, -2.0]], dtype), C[None], [1.0])
    x = jnp.asarray([0.3, 0.7], dtype)
    gain = LEVEL * C @ np.linalg.inv(LEVEL * C + (1 - LEVEL) * np.eye(2))
    expected = [1.0, -2.0] + gain @ (np.asarray(x, float) / np.sqrt(LEVEL) - [1.0, -2.0])
    found = jax.jit(lambda law, x: law.expected_clean(x, LEVEL))(mixture, x)
    assert found.dtype == dtype and np.allclose(found, expected, atol=30 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("kind", ["full", "diagonal", "isotropic"])
def test_fits_are_at_least_as_likely_as_the_truth(kind):
    """A maximum of the likelihood: above the truth's, and by no more than the noise of n draws allows."""
    covariances = COVARIANCES[kind]
    truth = diffusion.GaussianMixture(4 * MEANS, covariances, WEIGHTS)
    points = truth.sample(jax.random.key(2), batch=600)[0]
    found = diffusion.GaussianMixture.fit(points, K, covariance=kind, n_init=3)
    gain, parameters = (
        float(likelihood(found, points) - likelihood(truth, points)),
        17,
    )  # twice the gain is about chi-squared
    assert 0 < gain < parameters / 2 + 4 * np.sqrt(parameters / 2)
    order = np.argsort(found.means[:, 0]), np.argsort(truth.means[:, 0])
    assert np.allclose(found.weights[order[0]], truth.weights[order[1]], atol=4 * 0.5 / np.sqrt(600))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"covariances": np.ones(2)}, "covariances has the shape"),
        ({"covariances": -1.0}, "variance -1.0"),
        ({"covariances": np.stack([np.diag([1.0, -0.5])] * 3)}, "variance -0.5"),
        ({"covariances": np.asarray([[[1.0, 0.5], [0.0, 1.0]]] * 3)}, "not symmetric"),
        ({"weights": [0.5, 0.5, 0.5]}, "sum to 1.5"),
        ({"latent": "both"}, "latent = 'both'"),
        ({"means": [1.0, 2.0]}, "means has the shape"),
    ],
)
def test_bad_input_is_named(changes, match):
    with pytest.raises(ValueError, match=match):
        diffusion.GaussianMixture(**{"means": MEANS, "covariances": 1.0, "weights": WEIGHTS} | changes)


def test_bad_kinds_of_fits_are_named():
    with pytest.raises(ValueError, match="covariance = 'tied'"):
        diffusion.GaussianMixture.fit(np.zeros((5, 2)), 2, covariance="tied")
