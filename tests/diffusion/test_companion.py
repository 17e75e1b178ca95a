"""Tokens that share one mean: the best linear attention, its training, and the Bayes risk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from theorylab import diffusion
from theorylab.diffusion import mean_posterior
from theorylab.diffusion.mean_posterior import posterior_variance

rng = np.random.default_rng(0)
LEVEL, TOKENS, NOISE = 0.3, 4, 0.5
COUNTS = [(1, 3), (2, 3), (3, 2), (4, 5), (6, 5)]  # (K, d): rank 0, 1, 2, 3 and 5


def law(count, d):
    """Means that are neither orthogonal nor of mean zero, and unequal weights."""
    weights = np.arange(1, count + 1) / np.arange(1, count + 1).sum()
    return diffusion.SharedMeanMixture(np.random.default_rng(count).normal(size=(count, d)) + 0.5, weights, NOISE)


MOMENT = (lambda A: A @ A.T)(rng.normal(size=(3, 2)))  # of rank two
LAWS = [law(3, 2), law(2, 3), diffusion.RandomMeanMixture(MOMENT, NOISE)]


def noised(mixture, batch):
    x0, _ = mixture.sample(jax.random.key(0), tokens=TOKENS, batch=batch)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=x0.shape))
    return jnp.sqrt(LEVEL) * x0 + jnp.sqrt(1 - LEVEL) * noise, noise


def starts(d):
    return tuple(jnp.asarray(W) for W in np.random.default_rng(2).normal(size=(2, d, d)))


@pytest.mark.parametrize("mixture", LAWS)
def test_risk_of_linear_attention_against_simulation(mixture):
    x, noise = noised(mixture, 20_000)
    S, V = starts(x.shape[2])
    guess = x @ S.T + (jnp.mean(x, axis=1) @ V.T)[:, None]
    draws = np.asarray(jnp.mean(jnp.sum((guess - noise) ** 2, axis=2), axis=1))
    expected = mixture.linear_attention_risk(S, V, TOKENS, LEVEL)
    assert abs(draws.mean() - expected) < 4 * draws.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("tokens", [1, 4, 100])
@pytest.mark.parametrize("mixture", LAWS)
def test_the_optimum_is_where_the_gradient_vanishes(mixture, tokens):
    S, V, risk = mixture.linear_attention_optimum(tokens, LEVEL)
    value, slopes = jax.value_and_grad(mixture.linear_attention_risk, (0, 1))(S, V, tokens, LEVEL)
    assert float(value) == pytest.approx(float(risk), rel=1e-13)
    assert max(np.abs(slope).max() for slope in slopes) < 1e-13
    m = np.linalg.eigvalsh(mixture.second_moment())
    s2 = 1 - LEVEL + NOISE**2 * LEVEL
    excess = np.sum((1 - LEVEL) / s2 * LEVEL * m / (LEVEL * m * tokens + s2))
    assert float(risk) == pytest.approx(len(m) * LEVEL * NOISE**2 / s2 + excess, rel=1e-13)
    assert np.allclose(S, np.sqrt(1 - LEVEL) / s2 * np.eye(len(m)))


def test_means_taken_off_cost_the_whole_mean():
    """S = aI, V = -aI: the excess d(1 - alpha_bar)/(s2 L), whatever the means."""
    for mixture in LAWS:
        d, s2 = len(mixture.second_moment()), float(mixture.variance(LEVEL))
        a = np.sqrt(1 - LEVEL) / s2
        risk = mixture.linear_attention_risk(a * jnp.eye(d), -a * jnp.eye(d), TOKENS, LEVEL)
        assert float(risk - mixture.oracle_risk(LEVEL)) == pytest.approx(d * (1 - LEVEL) / (s2 * TOKENS), rel=1e-12)


@pytest.mark.parametrize("mixture", LAWS)
def test_descent_is_what_its_modes_say(mixture):
    S, V = starts(len(mixture.second_moment()))
    run = {"tokens": TOKENS, "alpha_bar": LEVEL, "step_size": 0.7 * float(mixture.largest_stable_step(TOKENS, LEVEL))}
    (S40, V40), risks = mixture.population_gd(S, V, **run, steps=40)
    excess = risks - mixture.linear_attention_optimum(TOKENS, LEVEL).risk
    predicted = mixture.predicted_excess(S, V, **run, steps=np.arange(41))
    assert risks.shape == (41,) and np.allclose(excess, predicted, rtol=0, atol=1e-12 * predicted[0])
    assert float(risks[-1]) == pytest.approx(float(mixture.linear_attention_risk(S40, V40, TOKENS, LEVEL)), rel=1e-13)
    slopes = jax.grad(mixture.linear_attention_risk, (0, 1))(S, V, TOKENS, LEVEL)
    (S1, V1), _ = mixture.population_gd(S, V, **run, steps=1)
    assert np.allclose(S1, S - run["step_size"] * slopes[0], atol=1e-12)
    assert np.allclose(V1, V - run["step_size"] * slopes[1], atol=1e-12)
    steps = mixture.iterations_required(S, V, **run, excess=1e-3)
    before, after = mixture.predicted_excess(S, V, **run, steps=[steps - 1, steps])
    assert before > 1e-3 >= after


@pytest.mark.parametrize("mixture", LAWS)
def test_the_largest_stable_step_is_two_over_the_curvature(mixture):
    S, V = starts(len(mixture.second_moment()))
    hessian = jax.hessian(lambda pair: mixture.linear_attention_risk(*pair, TOKENS, LEVEL))(jnp.stack([S, V]))
    largest = np.linalg.eigvalsh(hessian.reshape(2 * S.size, -1)).max()
    step = float(mixture.largest_stable_step(TOKENS, LEVEL))
    assert step == pytest.approx(2 / largest, rel=1e-12)
    run = {"tokens": TOKENS, "alpha_bar": LEVEL, "steps": 1}
    for bad in (step * 1.001, 0.0):
        with pytest.raises(ValueError, match="step_size = "):
            mixture.population_gd(S, V, **run, step_size=bad)
    # past it, and unchecked where it is traced, descent diverges
    risks = jax.jit(lambda eta: mixture.population_gd(S, V, **run | {"steps": 400}, step_size=eta)[1])(1.1 * step)
    assert risks[-1] > 1e3 * risks[0]


def test_tokens_required_are_the_fewest():
    for mixture in LAWS:
        for allowed in (0.1, 1e-3):
            tokens = mixture.tokens_required(allowed, LEVEL)

            def excess(tokens, mixture=mixture):
                return float(mixture.linear_attention_optimum(tokens, LEVEL).risk - mixture.oracle_risk(LEVEL))

            assert excess(tokens) <= allowed * (1 + 1e-9) and (tokens == 1 or excess(tokens - 1) > allowed)
            rank = np.linalg.matrix_rank(mixture.second_moment())
            assert tokens <= np.ceil(rank * (1 - LEVEL) / (float(mixture.variance(LEVEL)) * allowed))


@pytest.mark.parametrize("count, d", COUNTS)
def test_the_bayes_risk_against_the_exact_denoiser(count, d):
    mixture, schedule = law(count, d), diffusion.Schedule.from_alphas([LEVEL])
    value, error = map(float, mixture.bayes_risk(TOKENS, LEVEL))
    drawn = diffusion.bayes_risk(mixture, schedule, TOKENS, key=jax.random.key(0), samples=4000)
    assert abs(value - d * drawn.value) < 4 * np.hypot(error, d * drawn.standard_error) + 1e-12
    assert (error == 0) == (count <= 4)
    oracle, linear = float(mixture.oracle_risk(LEVEL)), float(mixture.linear_attention_optimum(TOKENS, LEVEL).risk)
    assert oracle - 1e-14 <= value <= linear and (count > 1 or value == pytest.approx(oracle, rel=1e-14))
    x, noise = noised(mixture, 20_000)
    guess = jax.jit(jax.vmap(lambda x: mixture.expected_noise(x, LEVEL)))(x)
    draws = np.asarray(jnp.mean(jnp.sum((guess - noise) ** 2, axis=2), axis=1))
    assert abs(draws.mean() - value) < 4 * draws.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("tokens, level", [(1, 0.6), (4, 0.6), (30, 0.9), (1, 1e-4)])
def test_two_opposite_means_are_a_hyperbolic_tangent(tokens, level):
    mu = np.asarray([1.2, -0.5])
    two = diffusion.SharedMeanMixture([mu, -mu], [0.5, 0.5], NOISE)
    s2 = 1 - level + NOISE**2 * level
    lam = tokens * level * (mu @ mu) / s2
    z = np.linspace(-14, 14, 20_001)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    gap = (mu @ mu) * np.trapezoid(normal * (1 - np.tanh(lam + np.sqrt(lam) * z)), z)
    expected = float(two.oracle_risk(level)) + (1 - level) * level / s2**2 * gap
    assert float(two.bayes_risk(tokens, level).value) == pytest.approx(expected, abs=1e-12)


def test_quadratures_agree(monkeypatch):
    """The grid in one to three dimensions against Sobol points, and both at the ends of what can be seen."""
    monkeypatch.setattr(mean_posterior, "SCRAMBLES", 8)
    for count in (2, 3, 4):
        means, weights = np.random.default_rng(count).normal(size=(count, 4)), np.full(count, 1 / count)
        grid = posterior_variance(means, weights, 1.0)
        with monkeypatch.context() as patched:
            patched.setattr(mean_posterior, "GRID_RANK", 0)
            sobol = posterior_variance(means, weights, 1.0)
        assert grid.standard_error == 0 < sobol.standard_error
        assert abs(grid.value - sobol.value) < 4 * sobol.standard_error
        assert sobol.standard_error < 1e-3 * np.mean(np.sum((means - means.mean(axis=0)) ** 2, axis=1))
    nothing = posterior_variance(means, weights, 1e4).value  # all of the prior variance is left
    assert nothing == pytest.approx(np.mean(np.sum((means - means.mean(axis=0)) ** 2, axis=1)), rel=1e-6)
    assert posterior_variance(means[:2], weights[:2] * 2, 0.01).value < 1e-30


def test_bayes_risks_of_many_levels():
    mixture, levels = law(2, 3), np.asarray([0.1, 0.5])
    found = mixture.bayes_risk(TOKENS, levels).value
    assert found.shape == (2,) and found[1] == pytest.approx(float(mixture.bayes_risk(TOKENS, 0.5).value), rel=1e-13)
    assert np.allclose(mixture.oracle_risk(levels), [float(mixture.oracle_risk(level)) for level in levels])


def test_a_normal_mean_is_jointly_normal():
    mixture = LAWS[2]
    x = jnp.asarray(rng.normal(size=(TOKENS, 3)))
    s2 = float(mixture.variance(LEVEL))
    joint = np.kron(np.ones((TOKENS, TOKENS)), LEVEL * MOMENT) + s2 * np.eye(x.size)
    assert float(mixture.log_density(x, LEVEL)) == pytest.approx(
        multivariate_normal(np.zeros(x.size), joint).logpdf(x.ravel()), abs=1e-11
    )
    assert np.allclose(mixture.score(x, LEVEL), -np.linalg.solve(joint, x.ravel()).reshape(x.shape), atol=1e-12)
    S, V, risk = mixture.linear_attention_optimum(TOKENS, LEVEL)
    assert np.allclose(mixture.expected_noise(x, LEVEL), x @ S.T + jnp.mean(x, axis=0, keepdims=True) @ V.T, atol=1e-13)
    assert float(mixture.noise_variance(x, LEVEL)) * 3 == pytest.approx(float(risk), rel=1e-13)
    posterior = x.size - (1 - LEVEL) * np.trace(np.linalg.inv(joint))
    assert float(mixture.bayes_risk(TOKENS, LEVEL).value) == pytest.approx(posterior / TOKENS, rel=1e-12)
    x0, means = mixture.sample(jax.random.key(0), tokens=2, batch=20_000)
    products = np.asarray(means[:, :, None] * means[:, None])
    error = products.std(axis=0) / np.sqrt(len(products))
    assert np.all(np.abs(products.mean(axis=0) - MOMENT) < 4 * error)
    oracle = mixture.oracle_noise(x0[0], LEVEL, means[0])
    assert np.allclose(oracle, np.sqrt(1 - LEVEL) / s2 * (x0[0] - np.sqrt(LEVEL) * means[:1]), atol=1e-13)


def test_limits():
    assert float(diffusion.SharedMeanMixture(np.eye(2), [0.5, 0.5], 0.0).oracle_risk(LEVEL)) == 0
    still = diffusion.SharedMeanMixture(np.zeros((2, 2)), [0.5, 0.5], NOISE)
    _, V, risk = still.linear_attention_optimum(TOKENS, LEVEL)
    assert np.abs(V).max() == 0 and float(risk) == pytest.approx(float(still.oracle_risk(LEVEL)), rel=1e-14)
    assert float(still.bayes_risk(TOKENS, LEVEL).value) == pytest.approx(float(risk), rel=1e-14)
    assert float(law(3, 2).oracle_risk(1 - 1e-12)) == pytest.approx(2, rel=1e-10)


def test_risks_under_transformations(dtype):
    means = jnp.asarray(law(3, 2).means, dtype)

    def risk(noise, level):
        return diffusion.SharedMeanMixture(means, [0.2, 0.3, 0.5], noise).linear_attention_optimum(TOKENS, level).risk

    noise, levels = jnp.asarray([0.1, 0.5], dtype), jnp.asarray([0.3, 0.6], dtype)
    found = jax.jit(jax.vmap(risk))(noise, levels)
    assert found.dtype == dtype
    assert np.allclose(found, [risk(n, a) for n, a in zip(noise, levels, strict=True)], rtol=20 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: diffusion.SharedMeanMixture(np.eye(2), [0.5, 0.6], 0.1), "sum to 1.1"),
        (lambda: diffusion.SharedMeanMixture(np.eye(2), [0.5, 0.5], -0.1), "noise = -0.1"),
        (lambda: diffusion.RandomMeanMixture(np.ones((2, 3)), 0.1), "moment has the shape"),
        (lambda: diffusion.RandomMeanMixture(np.diag([1.0, -1.0]), 0.1), "moment has the variance -1.0"),
        (lambda: diffusion.RandomMeanMixture([[1.0, 0.5], [0.0, 1.0]], 0.1), "moment is not symmetric"),
        (lambda: law(2, 3).oracle_risk(1.0), "alpha_bar = 1.0"),
        (lambda: law(2, 3).bayes_risk(TOKENS, 0.0), "alpha_bar = 0.0"),
        (lambda: law(2, 3).linear_attention_optimum(0, LEVEL), "tokens = 0"),
        (lambda: law(2, 3).tokens_required(0.0, LEVEL), "excess = 0.0"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
