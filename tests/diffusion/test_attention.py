"""Attention denoisers against their formulas, symmetries and limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.diffusion import (
    LinearAttention,
    MeanDenoisingAttention,
    Schedule,
    SoftmaxAttention,
    attention_weights,
    denoising_loss,
    oracle_start,
)
from theorylab.numerics import normal

TOKENS, D, T = 6, 4, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(TOKENS, D))
W, S, V = RNG.normal(size=(3, D, D))
SCALES = RNG.normal(size=T)
MODELS = {
    "mean": (MeanDenoisingAttention(W, SCALES), lambda x: mean_denoising(x, 2)),
    "softmax": (SoftmaxAttention(W, S, V), lambda x: with_skip(x, W)),
    "linear": (LinearAttention(S, V), lambda x: with_skip(x, 0 * W)),
}


def weights(x, W):
    """Token by token, as the formula has it."""
    A = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        scores = np.exp([x[j] @ W @ x[i] for j in range(len(x))])
        A[i] = scores / scores.sum()
    return A


def mean_denoising(x, t):
    A = weights(x, W / D)
    return np.stack([SCALES[t] * (x[i] - sum(A[i, j] * x[j] for j in range(len(x)))) for i in range(len(x))])


def with_skip(x, W):
    A = weights(x, W)
    return np.stack([S @ x[i] + V @ sum(A[i, j] * x[j] for j in range(len(x))) for i in range(len(x))])


@pytest.fixture(params=MODELS)
def pair(request):
    return MODELS[request.param]


def test_a_model_is_its_formula(pair, dtype):
    model, formula = pair
    model = jax.tree.map(lambda leaf: leaf.astype(dtype), model)
    found = model(jnp.asarray(X, dtype), 2)
    assert found.dtype == dtype
    exact = formula(X)  # scores up to 20 pass through the exponential
    np.testing.assert_allclose(found, exact, rtol=0, atol=500 * np.finfo(dtype).eps * np.abs(exact).max())


def test_the_order_of_tokens_does_not_matter(pair):
    model, _ = pair
    order = np.asarray([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(model(jnp.asarray(X[order]), 1), model(jnp.asarray(X), 1)[order], atol=1e-13)


def test_weights_are_distributions_even_of_huge_scores():
    A = attention_weights(jnp.asarray(X), jnp.asarray(1e3 * W))
    np.testing.assert_allclose(A.sum(1), np.ones(TOKENS), rtol=1e-14)
    np.testing.assert_allclose(attention_weights(jnp.asarray(X), jnp.asarray(W)), weights(X, W), rtol=1e-12)


def test_adding_to_every_key_a_common_vector_changes_no_attention():
    """Scores of a query move together, which the softmax does not see: keys x_j + u, queries x_i."""
    u = jnp.asarray(RNG.normal(size=(1, D)))
    x = jnp.asarray(X)
    moved = jax.nn.softmax((x @ W.T) @ (x + u).T, axis=-1)
    np.testing.assert_allclose(moved, attention_weights(x, jnp.asarray(W)), rtol=1e-11)


def test_linear_attention_is_softmax_attention_at_zero():
    x = jnp.asarray(X)
    np.testing.assert_allclose(SoftmaxAttention(0 * W, S, V)(x, 0), LinearAttention(S, V)(x, 0), atol=1e-14)


def test_one_scale_for_all_levels_or_one_for_each():
    x = jnp.asarray(X)
    np.testing.assert_allclose(
        MeanDenoisingAttention(W, SCALES[3])(x, 0), MeanDenoisingAttention(W, SCALES)(x, jnp.asarray(3)), rtol=1e-12
    )


def test_the_paper_starts_from_no_attention_and_random_scales():
    start = MeanDenoisingAttention.initial(jax.random.key(0), d=64, levels=4000)
    assert not start.W.any() and start.W.shape == (64, 64)
    assert abs(float(jnp.var(start.v)) * 64 - 1) < 5 * np.sqrt(2 / 4000)
    ones = MeanDenoisingAttention.initial(jax.random.key(0), d=2, levels=3, v=1.0)
    np.testing.assert_array_equal(ones.v, np.ones(3))


def test_the_excess_of_subtracting_the_mean_is_exact():
    """One mean for all tokens, S = a I, V = -a I, W = 0: the error a token adds to the oracle's is (1 - abar) / (s2 P).

    At level t both errors are Gaussian, so that their mean over n points has standard error risk sqrt(2 / (n d)); of
    P tokens only about one is counted, since the error of the mean is common to all.
    """
    schedule, rho, n, tokens = Schedule.from_alphas([0.6]), 0.5, 4000, 8
    key_mean, key_point, key = jax.random.split(jax.random.key(0), 3)
    means = 3 * normal(key_mean, (n, 1, D))
    x0 = means + rho * normal(key_point, (n, tokens, D))
    s2 = 1 - 0.6 + rho**2 * 0.6
    a = np.sqrt(0.4) / s2
    model = SoftmaxAttention(*oracle_start(D, a))
    loss = jax.jit(lambda model: denoising_loss(model, x0, schedule, key=key))
    risk = loss(model)
    exact = 0.6 * rho**2 / s2 + 0.4 / (s2 * tokens)
    assert abs(float(risk) - exact) < 4 * exact * np.sqrt(2 / (n * D))
    linear = loss(LinearAttention(*oracle_start(D, a)[1:]))
    np.testing.assert_allclose(linear, risk, rtol=1e-12)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: MeanDenoisingAttention(np.ones((2, 3)), 1.0), r"W has the shape \(2, 3\)"),
        (lambda: MeanDenoisingAttention(W, np.ones((2, 2))), r"v has the shape \(2, 2\)"),
        (lambda: SoftmaxAttention(W, np.ones((2, 2)), V), r"S has the shape \(2, 2\)"),
        (lambda: LinearAttention(S, np.ones(4)), r"V has the shape \(4,\)"),
    ],
)
def test_bad_shapes_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
