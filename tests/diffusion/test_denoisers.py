"""Exact denoisers of the multi-token mixture: against enumeration over all labels, derivatives, and symmetry."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import diffusion
from theorylab.diffusion.pattern_posterior import pattern_posterior, shared_posterior

rng = np.random.default_rng(0)
PATTERNS, WEIGHTS, NOISE, LEVEL = rng.normal(size=(4, 3)) + 1, np.asarray([0.1, 0.2, 0.3, 0.4]), 0.3, 0.6
X = jnp.asarray(rng.normal(size=(3, 3)) + 1)
SCHEDULE = diffusion.Schedule.from_alphas([0.9, 0.8, 0.6])


def law(active, patterns=PATTERNS):
    return diffusion.MultiTokenMixture(patterns, WEIGHTS, active=active, noise=NOISE)


def enumerated(active, x):
    """The density, and the posterior mean of each token's pattern, over all subsets and all labels."""
    s2 = 1 - LEVEL + NOISE**2 * LEVEL
    density, means = 0.0, 0.0
    for Z in itertools.combinations(range(4), active):
        share = WEIGHTS[list(Z)] / WEIGHTS[list(Z)].sum()
        for labels in itertools.product(range(active), repeat=len(x)):
            mu = PATTERNS[[Z[k] for k in labels]]
            normal = np.exp(-np.sum((x - np.sqrt(LEVEL) * mu) ** 2) / (2 * s2)) / (2 * np.pi * s2) ** (x.size / 2)
            term = np.prod(share[list(labels)]) * normal / math.comb(4, active)
            density, means = density + term, means + term * mu
    return density, means / density, s2


@pytest.mark.parametrize("active", [1, 2, 3, 4])
def test_they_are_what_enumeration_gives(active):
    mixture = law(active)
    density, means, s2 = enumerated(active, np.asarray(X))
    assert float(mixture.log_density(X, LEVEL)) == pytest.approx(np.log(density), abs=1e-12)
    noise = np.sqrt(1 - LEVEL) / s2 * (X - np.sqrt(LEVEL) * means)
    assert np.allclose(mixture.expected_noise(X, LEVEL), noise, atol=1e-13)
    shares = np.broadcast_to(mixture.posterior(X, LEVEL).shares, (3, 4))
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-14) and np.allclose(shares @ PATTERNS, means, atol=1e-13)


def tweedie(mixture, x):
    """Score and posterior variance of the noise, from two derivatives of the log-density."""

    def log_density(flat):
        return mixture.log_density(flat.reshape(x.shape), LEVEL)

    score = jax.grad(log_density)(x.ravel()).reshape(x.shape)
    return score, 1 + (1 - LEVEL) * jnp.trace(jax.hessian(log_density)(x.ravel())) / x.size


@pytest.mark.parametrize("active", [1, 2, 4])
def test_scores_are_derivatives_of_the_density(active):
    mixture = law(active)
    score, variance = jax.jit(tweedie)(mixture, X)
    assert np.allclose(mixture.score(X, LEVEL), score, atol=1e-12)
    assert float(mixture.noise_variance(X, LEVEL)) == pytest.approx(float(variance), abs=1e-12)
    clean = mixture.expected_clean(X, LEVEL)
    assert np.allclose(np.sqrt(LEVEL) * clean + np.sqrt(1 - LEVEL) * mixture.expected_noise(X, LEVEL), X, atol=1e-13)


def test_summing_tokens_first_changes_nothing():
    points, variance = jnp.asarray(PATTERNS), jnp.asarray(0.5)
    general = pattern_posterior(X, points, variance, jnp.eye(4))
    shared = shared_posterior(X, points, variance)
    assert np.allclose(general.shares, shared.shares, atol=1e-13)
    assert float(general.log_density) == pytest.approx(float(shared.log_density), abs=1e-12)


def test_one_active_pattern_is_a_mixture_with_a_shared_latent_and_equal_weights():
    equal = np.full(4, 0.25)
    others = (
        diffusion.SharedMeanMixture(PATTERNS, equal, NOISE),
        diffusion.GaussianMixture(PATTERNS, NOISE**2, equal, latent="shared"),
    )
    for other in others:
        assert float(other.log_density(X, LEVEL)) == pytest.approx(float(law(1).log_density(X, LEVEL)), abs=1e-12)
        assert np.allclose(other.expected_noise(X, LEVEL), law(1).expected_noise(X, LEVEL), atol=1e-13)
    unequal = diffusion.SharedMeanMixture(PATTERNS, WEIGHTS, NOISE)  # whose weights matter, unlike those of K = 1
    assert abs(float(unequal.log_density(X, LEVEL) - law(1).log_density(X, LEVEL))) > 0.01
    independent = diffusion.GaussianMixture(PATTERNS, NOISE**2, WEIGHTS)
    assert np.allclose(independent.expected_noise(X, LEVEL), law(4).expected_noise(X, LEVEL), atol=1e-13)


@pytest.mark.parametrize("active", [1, 2, 4])
def test_denoisers_respect_rotations_and_permutations(active):
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    order = np.asarray([2, 0, 1])
    model = diffusion.bayes_denoiser(law(active), SCHEDULE)
    turned = diffusion.bayes_denoiser(law(active, PATTERNS @ Q.T), SCHEDULE)
    found = model(X, 1)
    assert np.allclose(turned(X @ Q.T, 1), found @ Q.T, atol=1e-13)
    assert np.allclose(model(X[order], 1), found[order], atol=1e-13)


def test_the_bayes_denoiser_leaves_nothing_that_can_be_predicted():
    """E<noise - prediction, g(x)> = 0 for functions g of the data point, with the labels unknown."""
    mixture, model = law(2), diffusion.bayes_denoiser(law(2), SCHEDULE)
    x0, _ = mixture.sample(jax.random.key(0), tokens=4, batch=20_000)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=x0.shape))
    c2 = 1 - SCHEDULE.alpha_bar[1]
    x = jnp.sqrt(1 - c2) * x0 + jnp.sqrt(c2) * noise
    left = noise - jax.jit(jax.vmap(model, (0, None)))(x, 1)
    means = jnp.mean(x, axis=1, keepdims=True) + 0 * x
    probes = (jnp.ones_like(x), x, means, jnp.tanh(3 * x - 2), jnp.sin(x @ x.mT) @ x)
    for probe in probes:
        values = np.asarray(jnp.mean(left * probe, axis=(1, 2)))
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_single_precision_keeps_its_digits():
    """Far points at little noise, whose likelihoods underflow, an offset, and tokens that contradict one another."""
    patterns = 8 * np.eye(4) + 100
    x64 = jnp.asarray(np.sqrt(0.9) * patterns[[0, 0, 1, 3]] + 0.05)
    schedule = diffusion.Schedule.from_alphas([0.9])
    for active in (1, 2, 4):
        mixture = diffusion.MultiTokenMixture(patterns, WEIGHTS, active=active, noise=0.05)
        model = jax.jit(diffusion.bayes_denoiser(mixture, schedule))
        single, double = model(x64.astype(jnp.float32), 0), model(x64, 0)
        assert single.dtype == jnp.float32 and double.dtype == jnp.float64
        # inputs of 100 are known to 100 eps, which the denoiser multiplies by c/s2 = 3; ten for the sums
        assert np.abs(np.asarray(single, float) - np.asarray(double)).max() < 3 * 10 * 100 * np.finfo(np.float32).eps


def test_oracle_denoiser_knows_the_labels():
    labels = jnp.asarray([3, 0, 0], jnp.int32)
    found = diffusion.oracle_denoiser(law(2), SCHEDULE)(X, 2, labels)
    alpha_bar = 0.9 * 0.8 * 0.6
    s2 = 1 - alpha_bar + NOISE**2 * alpha_bar
    assert np.allclose(found, np.sqrt(1 - alpha_bar) / s2 * (X - np.sqrt(alpha_bar) * PATTERNS[labels]), atol=1e-14)


def test_bad_calls_are_named():
    model = diffusion.bayes_denoiser(law(2), SCHEDULE)
    for t in (-1, 3):
        with pytest.raises(ValueError, match=f"t = {t}"):
            model(X, t)
    many = diffusion.MultiTokenMixture(np.eye(20), np.full(20, 0.05), active=10, noise=0.1)
    with pytest.raises(ValueError, match="184756 subsets"):
        many.log_density(jnp.zeros((2, 20)), 0.5)
    one = diffusion.MultiTokenMixture(np.eye(20), np.full(20, 0.05), active=1, noise=0.1)
    assert np.isfinite(one.log_density(jnp.zeros((2, 20)), 0.5))
