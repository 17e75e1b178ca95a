"""What trained attention does, where it is known; and attention over infinitely many tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import diffusion

rng = np.random.default_rng(0)
MEANS, WEIGHTS, VARIANCE = rng.normal(size=(3, 2)) + 0.5, np.asarray([0.2, 0.3, 0.5]), 0.4


def test_mass_and_gain_of_uniform_attention():
    """Its mass is the share of equal pairs, sum pi^2 + (1 - sum pi^2)/P; its gain on one pattern 1/P."""
    P, mixture = 6, diffusion.MultiTokenMixture(MEANS, WEIGHTS, active=3, noise=0.5)
    x0, labels = mixture.sample(jax.random.key(0), tokens=P, batch=20_000)
    mass = np.asarray(diffusion.same_pattern_mass(jnp.full((20_000, P, P), 1 / P), labels))
    expected = WEIGHTS @ WEIGHTS + (1 - WEIGHTS @ WEIGHTS) / P
    assert abs(mass.mean() - expected) < 4 * mass.std() / np.sqrt(len(mass))
    noise = x0 - mixture.patterns[labels]
    attended = jnp.broadcast_to(jnp.mean(noise, axis=1, keepdims=True), noise.shape)
    gain = np.asarray(diffusion.mean_denoising_gain(attended, jnp.zeros_like(noise), 0.25))
    assert abs(gain.mean() - 1 / P) < 4 * gain.std() / np.sqrt(len(gain))
    own = np.asarray(diffusion.mean_denoising_gain(x0, mixture.patterns[labels], 0.25))
    assert abs(own.mean() - 1) < 4 * own.std() / np.sqrt(len(own))


def test_mass_of_ideal_attention_is_one():
    labels = jnp.asarray([[0, 1, 1, 0], [2, 2, 2, 2]])  # halves and quarters, whose sums are exact
    same = (labels[:, :, None] == labels[:, None]).astype(float)
    assert diffusion.same_pattern_mass(same / same.sum(axis=2, keepdims=True), labels).tolist() == [1, 1]


def test_alignment_is_blind_to_what_softmax_is_blind_to():
    patterns = np.asarray(diffusion.orthogonal_patterns(jax.random.key(0), 3, 4))
    W = 0.7 * patterns.T @ patterns / 4  # the identity on their span has the scores of norms d, over d
    assert np.allclose(diffusion.pattern_scores(W, patterns), 0.7 * np.eye(3), atol=1e-13)
    common = np.ones((3, 1)) * rng.normal(size=3)  # scores that depend on the query alone
    shifted = W + patterns.T @ common @ patterns / 4**2
    weights = [jax.nn.softmax(diffusion.pattern_scores(one, patterns), axis=0) for one in (W, shifted)]
    assert np.allclose(*weights, atol=1e-13)
    for one, value in ((W, 1), (shifted, 1), (-W, -1), (0 * W, 0)):
        assert float(diffusion.pattern_alignment(one, patterns)) == pytest.approx(value, abs=1e-13)
    assert abs(float(diffusion.pattern_alignment(W + rng.normal(size=(4, 4)), patterns))) < 1


def components(points):
    """The weighted densities of the components, up to a common factor."""
    squares = np.sum((points[None] - MEANS[:, None]) ** 2, axis=2)
    return WEIGHTS[:, None] * np.exp(-squares / (2 * VARIANCE))


def test_the_limit_of_attention_is_an_integral():
    """Against quadrature of the tilted density over the plane."""
    W, q = rng.normal(size=(2, 2)), rng.normal(size=2)
    axis = np.linspace(-12, 12, 241)  # Gaussian integrands, to 1e-13 at this spacing
    keys = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = sum(
        p * np.exp(-np.sum((keys - m) ** 2, axis=1) / (2 * VARIANCE)) for p, m in zip(WEIGHTS, MEANS, strict=True)
    )
    tilted = density * np.exp(keys @ W @ q)
    found = diffusion.attention_population_limit(W, q, means=MEANS, weights=WEIGHTS, variance=VARIANCE)
    assert np.allclose(found, tilted @ keys / tilted.sum(), atol=1e-10)


def test_the_limit_of_attention_is_the_bayes_denoiser_for_means_of_one_norm():
    level, noise = 0.6, 0.5
    s2 = 1 - level + noise**2 * level
    q, c = jnp.asarray([0.3, -1.0]), np.sqrt(1 - level)

    def gap(means):
        arguments = {"means": np.sqrt(level) * means, "weights": WEIGHTS, "variance": s2}
        attended = diffusion.attention_population_limit(np.eye(2) / s2, q, **arguments)
        bayes = diffusion.GaussianMixture(means, noise**2, WEIGHTS).expected_noise(q, level)
        return np.abs(c / s2 * (2 * q - attended) - bayes).max()

    assert gap(2 * MEANS / np.linalg.norm(MEANS, axis=1, keepdims=True)) < 1e-13
    assert gap(MEANS) > 0.01  # plain scores cannot hold the offsets of unequal norms


@pytest.mark.parametrize("v", [0.1, 1.0])
def test_first_gradient_of_the_limit(v):
    """Automatic differentiation through the limit, in the mean over queries by quadrature over the plane."""
    a = 0.9
    c = a * VARIANCE  # the noise's share: a = c/s2
    axis = np.linspace(-6, 6, 61)
    queries = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    terms = [
        p * np.exp(-np.sum((queries - m) ** 2, axis=1) / (2 * VARIANCE)) for p, m in zip(WEIGHTS, MEANS, strict=True)
    ]
    total = np.sum(terms)
    arguments = {"means": MEANS, "weights": WEIGHTS, "variance": VARIANCE}

    def risk(W):
        """The part of the risk that W moves: the noise's conditional mean given query and component is known."""
        attended = jax.vmap(lambda q: diffusion.attention_population_limit(W, q, **arguments))(jnp.asarray(queries))
        guess, value = a * (queries - v * attended), 0.0
        for term, m in zip(terms, MEANS, strict=True):
            value += jnp.sum(term / total * jnp.sum((guess - c / VARIANCE * (queries - m)) ** 2, axis=1))
        return value

    found = jax.jit(jax.grad(risk))(jnp.zeros((2, 2)))
    assert np.allclose(found, diffusion.limit_first_gradient(**arguments, a=a, v=v), atol=1e-9)


def test_the_first_step_attends_to_the_same_pattern():
    """Equal, orthogonal and at v = 1: a negative multiple of the centred projector on the patterns."""
    Q = np.linalg.qr(rng.normal(size=(5, 3)))[0].T
    gradient = diffusion.limit_first_gradient(means=2 * Q, weights=np.full(3, 1 / 3), variance=0.5, a=1.1, v=1.0)
    C = Q.T @ Q - np.outer(Q.sum(axis=0), Q.sum(axis=0)) / 3
    scale = np.trace(gradient) / 2
    assert scale < 0 and np.allclose(gradient, scale * C, atol=1e-13)
    assert float(diffusion.pattern_alignment(-np.asarray(gradient), Q)) == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: diffusion.same_pattern_mass(jnp.ones((3, 2)), jnp.zeros(3, int)), "attention has the shape"),
        (lambda: diffusion.mean_denoising_gain(jnp.ones((3, 2)), jnp.zeros((3, 3)), 1.0), "means has the shape"),
        (lambda: diffusion.pattern_scores(np.eye(3), MEANS), "W has the shape"),
        (lambda: diffusion.pattern_alignment(np.eye(2), MEANS[:1]), "one pattern"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_errors_of_attention_have_the_exact_means():
    """At W = 0, where all of them are known."""
    schedule, P, n = diffusion.Schedule.linear_alpha(0.9, 0.7, 3), 5, 6000
    t = jnp.arange(n) % 3
    for active in (1, 3):
        law = diffusion.MultiTokenMixture(2 * np.eye(4), [0.1, 0.2, 0.3, 0.4], active=active, noise=0.5)
        x0, labels = law.sample(jax.random.key(active), tokens=P, batch=n)
        noise = jnp.asarray(np.random.default_rng(active).normal(size=x0.shape))
        model = diffusion.MeanDenoisingAttention(np.zeros((4, 4)), diffusion.ideal_scales(law, schedule))
        found = jax.jit(diffusion.attention_errors)(model, law, schedule, x0, labels, t=t, noise=noise)
        risk = float(diffusion.initial_risk(law, schedule, P, model.v))
        pairs = float(jnp.mean(jnp.sum(law.proportions() ** 2, axis=1)))
        alpha_bar = schedule.alpha_bar
        expected = {
            "risk": risk,
            "excess": risk - float(diffusion.oracle_risk(law, schedule)),
            "mean_error": float(jnp.mean(law.variance(alpha_bar) / P + (1 - 1 / P) * alpha_bar * law.spread())),
            "mass": pairs + (1 - pairs) / P,
        }
        for name, value in expected.items():
            draws = np.asarray(getattr(found, name)).reshape(-1, 3).mean(axis=1)  # each has all levels
            assert abs(draws.mean() - value) < 4 * draws.std() / np.sqrt(len(draws)) + 1e-12, (active, name)


def test_the_problem_of_infinitely_many_tokens():
    """Its loss has the exact risk without attention, and the Bayes risk at the matrices that are the Bayes denoiser."""
    means, a, rho = 2 * np.eye(3)[:2], 0.6, 0.5
    problem = diffusion.AttentionLimit(means, [0.3, 0.7], rho, alpha_bar=a, batch=50)
    s2, still = float(problem.variance), problem.without_attention()
    keys = jax.random.split(jax.random.key(0), 400)
    losses = jax.jit(lambda x: jax.vmap(lambda key: problem.loss(x, key))(keys))
    without = np.asarray(losses((jnp.zeros((3, 3)), still.S, still.V)))
    assert abs(without.mean() - still.risk) < 4 * without.std() / 20
    scale, eye = np.sqrt(1 - a) / s2, np.eye(3)
    best = np.asarray(losses((eye / s2, 2 * scale * eye, -scale * eye)))
    law = diffusion.GaussianMixture(means, rho**2, [0.3, 0.7])
    bayes = 3 * diffusion.bayes_risk(law, diffusion.Schedule.from_alphas([a]), 1, key=1, samples=20_000)
    assert abs(best.mean() - bayes.value) < 4 * np.hypot(best.std() / 20, bayes.standard_error)
    # a skip that is held has no gradient
    slopes = jax.grad(diffusion.AttentionLimit(means, [0.3, 0.7], rho, alpha_bar=a, batch=50, skip=0.0).loss)
    W, S, V = slopes((0.1 * eye, still.S, still.V), keys[0])
    assert np.abs(S).max() == 0 < np.abs(W).max() and np.abs(V).max() > 0
