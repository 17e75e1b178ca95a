"""Closed-form risks, gradients and claims of the multi-token mixture, against simulation and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import diffusion
from theorylab.diffusion.claims import ddpm_multitoken_gmm as claims

# patterns neither orthogonal nor centred, unequal weights: nothing that the paper assumes
PATTERNS, WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)) + 1, np.asarray([0.1, 0.2, 0.3, 0.4])
TOKENS, BATCH = 4, 20_000
SCHEDULE = diffusion.Schedule.linear_alpha(0.95, 0.7, 3)
V = jnp.linspace(0.5, 1.2, 3)
SHORT = diffusion.MultiTokenMixture(np.eye(4), WEIGHTS, active=2, noise=0.5)  # orthogonal, of norm one
ORTHOGONAL = diffusion.MultiTokenMixture(2 * np.eye(4), WEIGHTS, active=2, noise=0.5)


def law(active, noise=0.4):
    return diffusion.MultiTokenMixture(PATTERNS, WEIGHTS, active=active, noise=noise)


def attention(W, v, x):
    return v * (x - jax.nn.softmax(x @ W.T @ x.T / x.shape[1], axis=1) @ x)


@jax.jit
def losses(mixture, x0, labels, noise):
    """Squared errors per entry of one data point, by denoiser and level, those of scores, and the gradient in W."""
    oracle, bayes = (make(mixture, SCHEDULE) for make in (diffusion.oracle_denoiser, diffusion.bayes_denoiser))
    found, scores, slopes = [], [], []
    for t, alpha_bar in enumerate(SCHEDULE.alpha_bar):
        c, s2 = jnp.sqrt(1 - alpha_bar), mixture.variance(alpha_bar)
        x = jnp.sqrt(alpha_bar) * x0 + c * noise
        same = (labels[:, None] == labels[None]).astype(x.dtype)
        ideal = c / s2 * (x - same / jnp.sum(same, axis=1, keepdims=True) @ x)
        exact, uniform = bayes(x, t), attention(jnp.zeros((3, 3)), V[t], x)
        wild = attention(jnp.eye(3), V[t], x)  # any other function
        errors = [jnp.mean((guess - noise) ** 2) for guess in (oracle(x, t, labels), exact, ideal, uniform, wild)]
        found.append(jnp.stack(errors))
        scores.append(jnp.mean((wild - exact) ** 2) / c**2)

        def risk(W, x=x, t=t):
            return jnp.mean((attention(W, V[t], x) - noise) ** 2)

        slopes.append(jax.grad(risk)(jnp.zeros((3, 3))))
    return jnp.stack(found), jnp.stack(scores), jnp.mean(jnp.stack(slopes), axis=0)


@pytest.fixture(scope="module", params=[1, 2, 4])
def simulated(request):
    mixture = law(request.param)
    x0, labels = mixture.sample(jax.random.key(1), tokens=TOKENS, batch=BATCH)
    noise = jnp.asarray(np.random.default_rng(2).normal(size=x0.shape))
    return mixture, *(np.asarray(x) for x in jax.vmap(losses, (None, 0, 0, 0))(mixture, x0, labels, noise))


def errors_off(draws, expected):
    """How many standard errors a mean over draws is off."""
    draws = np.asarray(draws)
    return np.abs(draws.mean(axis=0) - expected) / (draws.std(axis=0) / np.sqrt(len(draws)))


def test_risks_at_every_level(simulated):
    mixture, found, _, _ = simulated
    bayes = diffusion.bayes_risk(mixture, SCHEDULE, TOKENS, key=jax.random.key(3), samples=4000, by_level=True)
    expected = (
        diffusion.oracle_risk(mixture, SCHEDULE, by_level=True),
        bayes.value,
        diffusion.ideal_risk(mixture, SCHEDULE, TOKENS, by_level=True),
        diffusion.initial_risk(mixture, SCHEDULE, TOKENS, V, by_level=True),
    )
    for k, values in enumerate(expected):
        assert errors_off(found[:, :, k], values).max() < 4
    # the posterior variance estimates the Bayes risk with far less noise than the squared error does
    assert np.all(bayes.standard_error * np.sqrt(4000) < found[:, :, 1].std(axis=0))
    gap = np.asarray(bayes.value - expected[0])
    assert np.all(gap > 0) and np.all(bayes.value <= expected[2] + 4 * bayes.standard_error)


def test_averages_over_the_levels(simulated):
    mixture = simulated[0]
    for risk, *rest in ((diffusion.oracle_risk,), (diffusion.ideal_risk, TOKENS), (diffusion.initial_risk, TOKENS, V)):
        levels = risk(mixture, SCHEDULE, *rest, by_level=True)
        assert float(risk(mixture, SCHEDULE, *rest)) == pytest.approx(float(levels.mean()))
    drawn = {"key": jax.random.key(3), "samples": 50}
    value, error = diffusion.bayes_risk(mixture, SCHEDULE, TOKENS, **drawn)
    levels = diffusion.bayes_risk(mixture, SCHEDULE, TOKENS, **drawn, by_level=True)
    assert float(value) == pytest.approx(float(levels.value.mean()))
    assert float(error) <= float(levels.standard_error.mean()) * (1 + 1e-12)  # of one mean, at most the mean of them


def test_the_score_error_is_an_identity(simulated):
    """Any function's score error is its excess risk over 1 - alpha-bar, in the mean over the draws."""
    _, found, scores, _ = simulated
    excess = (found[:, :, 4] - found[:, :, 1]) / (1 - np.asarray(SCHEDULE.alpha_bar))
    assert errors_off(np.mean(excess - scores, axis=1), 0) < 4
    mean = found.mean(axis=0)
    identity = diffusion.score_error(mean[:, 4], mean[:, 1], SCHEDULE)
    assert float(identity) == pytest.approx(excess.mean(), rel=1e-12)


def test_the_first_gradient(simulated):
    mixture, _, _, slopes = simulated
    assert errors_off(slopes, diffusion.first_gradient(mixture, SCHEDULE, V, TOKENS)).max() < 4
    limit = diffusion.first_gradient(mixture, SCHEDULE, V)
    for tokens in (10**3, 10**5):  # a correction of the order of d over the tokens
        off = np.abs(diffusion.first_gradient(mixture, SCHEDULE, V, tokens) - limit).max()
        assert off < 20 / tokens
    assert np.abs(diffusion.first_gradient(mixture, SCHEDULE, 0.0)).max() == 0


def test_the_first_gradient_of_one_active_pattern():
    """A multiple of I, zero at v = c/s2 in the limit of many tokens alone."""
    mixture = law(1)
    v = diffusion.ideal_scales(mixture, SCHEDULE)
    assert np.abs(diffusion.first_gradient(mixture, SCHEDULE, v)).max() < 1e-16
    few = np.asarray(diffusion.first_gradient(mixture, SCHEDULE, v, TOKENS))
    c, s2, P = np.sqrt(1 - SCHEDULE.alpha_bar), mixture.variance(SCHEDULE.alpha_bar), TOKENS
    assert np.allclose(few, np.eye(3) * np.mean(2 * v * c * s2) / 9 * (1 - 1 / P) / P, rtol=1e-12, atol=1e-16)
    found, start = diffusion.initial_risk(mixture, SCHEDULE, P, v), diffusion.ideal_risk(mixture, SCHEDULE, P)
    assert float(found) == pytest.approx(float(start), rel=1e-13)  # W = 0 is the ideal mean denoiser


def test_formulas_of_orthogonal_patterns():
    alpha_bar, P = SCHEDULE.alpha_bar, 5
    c, s2, equal = np.sqrt(1 - alpha_bar), 1 - alpha_bar + 0.25 * alpha_bar, np.mean(ORTHOGONAL.proportions() ** 2) * 4
    expected = 1 + (1 - 1 / P) * (V**2 * (s2 + alpha_bar * (1 - equal)) - 2 * V * c)
    assert np.allclose(diffusion.initial_risk(ORTHOGONAL, SCHEDULE, P, V, by_level=True), expected, rtol=1e-14)


def test_best_scales_are_where_derivatives_vanish():
    mixture = law(2)

    def initial(v):
        return jnp.sum(diffusion.initial_risk(mixture, SCHEDULE, TOKENS, v, by_level=True))

    best = diffusion.initial_scales(mixture, SCHEDULE)
    assert np.abs(jax.grad(initial)(best)).max() < 1e-15
    assert initial(best) < initial(best * 1.01) and initial(best) < initial(best * 0.99)


def test_the_last_stage_contracts_as_predicted():
    """Descent in v on the ideal denoiser's risk: from its values at two scales, which a parabola determines."""
    mixture, eta = law(2), 1.3
    c, s2 = np.sqrt(1 - SCHEDULE.alpha_bar), mixture.variance(SCHEDULE.alpha_bar)
    shown = 1 - mixture.distinct_patterns(TOKENS) / TOKENS

    def risk(v):
        return jnp.mean(1 + shown * (v**2 * s2 - 2 * v * c))

    best = diffusion.ideal_scales(mixture, SCHEDULE)
    assert float(risk(best)) == pytest.approx(float(diffusion.ideal_risk(mixture, SCHEDULE, TOKENS)), rel=1e-13)
    after = V - eta * jax.grad(risk)(V)
    factors = diffusion.scale_contraction(mixture, SCHEDULE, TOKENS, eta)
    assert np.allclose(after - best, factors * (V - best), atol=1e-14)


def test_tokens_required_are_the_fewest():
    for active in (1, 2, 4):
        mixture = law(active)

        def excess(tokens, mixture=mixture):
            return float(diffusion.ideal_risk(mixture, SCHEDULE, tokens) - diffusion.oracle_risk(mixture, SCHEDULE))

        for allowed in (0.3, 0.03, 1e-4):
            tokens = diffusion.tokens_required(mixture, SCHEDULE, allowed)
            assert excess(tokens) <= allowed * (1 + 1e-9) and (tokens == 1 or excess(tokens - 1) > allowed)
        scale = float(np.mean((1 - SCHEDULE.alpha_bar) / mixture.variance(SCHEDULE.alpha_bar)))
        assert abs(tokens - active * scale / 1e-4) <= 1
    assert diffusion.tokens_required(law(2), SCHEDULE, 10.0) == 1


def test_limits():
    assert float(diffusion.oracle_risk(law(2, noise=0.0), SCHEDULE)) == 0
    assert float(diffusion.initial_risk(law(2), SCHEDULE, 7, 0.0)) == 1  # v = 0 predicts nothing
    assert float(diffusion.initial_risk(law(2), SCHEDULE, 1, 3.0)) == 1  # and neither does a token alone
    assert float(diffusion.ideal_risk(law(2), SCHEDULE, 1)) == pytest.approx(1, rel=1e-14)


def test_risks_under_transformations(dtype):
    patterns = jnp.asarray(PATTERNS, dtype)
    schedule = diffusion.Schedule.from_alphas(jnp.asarray([0.9, 0.8], dtype))

    def risks(noise, weights, tokens):
        mixture = diffusion.MultiTokenMixture(patterns, weights, active=2, noise=noise)
        ideal = diffusion.ideal_risk(mixture, schedule, tokens)
        return jnp.stack([ideal, diffusion.initial_risk(mixture, schedule, tokens, 0.7)])

    noise, tokens = jnp.asarray([0.1, 0.3], dtype), jnp.asarray([3, 7])
    found = jax.jit(jax.vmap(risks, (0, None, 0)))(noise, jnp.asarray(WEIGHTS, dtype), tokens)
    alone = [risks(noise[k], WEIGHTS, int(tokens[k])) for k in range(2)]
    assert found.dtype == dtype and np.allclose(found, np.stack(alone), rtol=10 * float(jnp.finfo(dtype).eps))


def test_the_bound_of_the_score_needs_excess_at_the_later_levels():
    """Theorem 2's bound holds for the ideal denoiser, and fails for as large an excess at the first level alone."""
    mixture = law(2)
    bayes = diffusion.oracle_risk(mixture, SCHEDULE, by_level=True)
    ideal = diffusion.ideal_risk(mixture, SCHEDULE, 10, by_level=True)
    excess = float(jnp.mean(ideal - bayes))
    bound = claims.score_error(excess, SCHEDULE)
    assert float(diffusion.score_error(ideal, bayes, SCHEDULE)) <= bound
    first = bayes + jnp.asarray([3 * excess, 0.0, 0.0])
    assert float(diffusion.score_error(first, bayes, SCHEDULE)) > bound
    assert bound == pytest.approx(excess * float(np.mean(1 / (1 - SCHEDULE.alpha_bar))), rel=1e-13)


def test_orders_of_the_paper():
    found = claims.conditions(ORTHOGONAL, 0.1)
    nu = float(ORTHOGONAL.pattern_frequencies().min())
    assert found.tokens == pytest.approx(found.tokens_of_lemmas / 2)
    assert found.tokens == pytest.approx(2 / 4 * 1.25 * np.log(4) / (0.1 * nu))
    assert found.dimension == pytest.approx(10 * np.log(10 / nu)) and found.step_size == pytest.approx(1 / 1.1)
    assert claims.mean_error(ORTHOGONAL, 8) == pytest.approx(1.25 * np.log(4) / (8 * nu))
    assert claims.same_pattern_score(ORTHOGONAL, 0.05) == pytest.approx(np.log(2 * 0.25 / 0.05) / 2)
    counts = [
        claims.iterations(
            diffusion.MultiTokenMixture(2 * np.eye(4), WEIGHTS, active=active, noise=0.5), SCHEDULE, 0.1, 0.5
        )
        for active in (1, 2, 3, 4)
    ]
    snr = float(np.mean(SCHEDULE.snr))
    for count, nu in ((counts[0], 0.25), (counts[-1], 0.1)):  # K = 1 and K = M of Corollary 1
        assert count == pytest.approx((10 + nu**-3) / (0.5 * nu * snr**3) + np.log(12.5))
    assert np.all(np.diff(counts) > 0)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: claims.conditions(law(2), 0.1), "orthogonal patterns of norm"),
        (
            lambda: claims.mean_error(diffusion.MultiTokenMixture(np.eye(4), WEIGHTS, active=2, noise=0), 8),
            "4",
        ),
        (lambda: claims.conditions(ORTHOGONAL, 0.0), "epsilon = 0.0"),
        (lambda: diffusion.initial_risk(law(2), SCHEDULE, 4, np.ones(2)), "v has the shape"),
        (lambda: diffusion.ideal_risk(law(2), SCHEDULE, 0), "tokens = 0"),
        (lambda: diffusion.tokens_required(law(2), SCHEDULE, 0.0), "excess = 0.0"),
        (lambda: diffusion.bayes_risk(law(2), SCHEDULE, 2, key=jax.random.key(0), samples=1), "samples = 1"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
