"""The denoising loss: exact arithmetic, exact risks of linear models, blocks, draws, and models of every library."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.diffusion import (
    MeanDenoisingAttention,
    MultiTokenMixture,
    Schedule,
    SoftmaxAttention,
    bayes_denoiser,
    convert,
    counter_normal,
    denoising_loss,
    draw_levels,
    level_risks,
)
from theorylab.engine.keys import stream
from theorylab.numerics import normal

BATCH, TOKENS, D, T = 13, 3, 4, 5
SCHEDULE = Schedule.linear_alpha(0.9, 0.6, T)
RNG = np.random.default_rng(0)
X0, NOISE = (jnp.asarray(RNG.normal(size=(BATCH, TOKENS, D))) for _ in range(2))
LEVELS = jnp.asarray(RNG.integers(0, T, BATCH), jnp.int32)
MATRICES = tuple(jnp.asarray(RNG.normal(size=(D, D))) / 2 for _ in range(3))
HEAD = MeanDenoisingAttention(MATRICES[0], jnp.linspace(0.3, 1.0, T))
KEY = jax.random.key(0)
loss, risks = eqx.filter_jit(denoising_loss), eqx.filter_jit(level_risks)


def close(a, b, roundings=200):
    """Equal to roundings of the largest entry: sums of some hundred terms in another order."""
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == other.dtype
        tolerance = roundings * np.finfo(one.dtype).eps * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_it_is_the_mean_squared_error_per_entry(dtype):
    x0, noise, model = (jax.tree.map(lambda leaf: leaf.astype(dtype), tree) for tree in (X0, NOISE, HEAD))
    schedule = Schedule.from_alphas(SCHEDULE.alphas.astype(dtype))
    found = loss(model, x0, schedule, t=LEVELS, noise=noise)
    total = 0.0
    for i in range(BATCH):
        level = LEVELS[i]
        x = schedule.signal_root[level] * x0[i] + schedule.noise_root[level] * noise[i]
        total += float(np.mean((np.asarray(model(x, level)) - np.asarray(noise[i])) ** 2))
    assert found.dtype == dtype
    close(found, jnp.asarray(total / BATCH, dtype))


@pytest.mark.parametrize("active", [1, 2])
def test_exact_denoisers_are_models_like_others(active):
    """Their tables of subsets are NumPy constants of the program."""
    mixture = MultiTokenMixture(2 * jnp.eye(3, D), [0.2, 0.3, 0.5], active=active, noise=0.5)
    model = bayes_denoiser(mixture, SCHEDULE)
    signal, root = SCHEDULE.signal_root[LEVELS], SCHEDULE.noise_root[LEVELS]
    x = signal[:, None, None] * X0 + root[:, None, None] * NOISE
    errors = jax.jit(jax.vmap(model))(x, LEVELS) - NOISE
    close(loss(model, X0, SCHEDULE, t=LEVELS, noise=NOISE, block=4), jnp.mean(errors**2))


@pytest.mark.parametrize("source", ["x0", "v", "score"])
def test_the_loss_is_that_of_the_noise_in_every_parametrisation(source):
    def other(x, t):
        return convert(HEAD(x, t), x, t, SCHEDULE, source="epsilon", target=source)

    found = loss(other, X0, SCHEDULE, t=LEVELS, noise=NOISE, parametrisation=source)
    close(found, loss(HEAD, X0, SCHEDULE, t=LEVELS, noise=NOISE))


@jax.jit
def everything(model, alphas, x0, noise):
    """Value and all derivatives, unblocked and in blocks that do and do not divide the batch."""

    def value(block, *args):
        model, alphas, x0, noise = args
        return denoising_loss(model, x0, Schedule(alphas), t=LEVELS, noise=noise, block=block)

    args = model, alphas, x0, noise
    return [jax.value_and_grad(partial(value, block), (0, 1, 2, 3))(*args) for block in (None, 5)]


def test_blocks_change_value_and_every_derivative_by_rounding_alone(dtype):
    args = (SoftmaxAttention(*MATRICES), SCHEDULE.alphas, X0, NOISE)
    plain, *blocked = everything(*jax.tree.map(lambda leaf: leaf.astype(dtype), args))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(plain))
    for one in blocked:
        close(one, plain)


@pytest.mark.parametrize("noise", ["threefry", "counter"])
def test_draws_are_the_same_for_any_block(noise):
    def value(model, block):
        return denoising_loss(model, X0, SCHEDULE, key=KEY, noise=noise, levels="stratified", block=block)

    @jax.jit
    def many(model):
        return [jax.value_and_grad(partial(value, block=block))(model) for block in (None, 5)]

    def memory(x, t):  # the error is then the noise itself
        return jnp.zeros_like(x)

    plain, blocked = many(HEAD)
    close(blocked, plain)
    if noise == "counter":
        drawn = counter_normal(stream(KEY, "noise"), X0.shape)
        close(jax.jit(lambda: value(memory, 1))(), jnp.mean(drawn**2))


def test_vmap_and_second_derivatives_pass_through_blocks():
    def value(scale, block):
        model = SoftmaxAttention(scale * MATRICES[0], *MATRICES[1:])
        return denoising_loss(model, X0, SCHEDULE, t=LEVELS, noise=NOISE, block=block)

    scales = jnp.asarray([0.5, 1.0, 2.0])

    @jax.jit
    def derivatives(scales):
        out = []
        for block in (None, 5):
            slope = jax.grad(partial(value, block=block))
            turn = jax.vmap(lambda s, slope=slope: jax.jvp(slope, (s,), (jnp.ones_like(s),)))(scales)
            out.append((jax.vmap(partial(value, block=block))(scales), turn, jax.vmap(jax.grad(slope))(scales)))
        return out

    plain, blocked = derivatives(scales)
    close(blocked, plain)
    close(plain[1][1], plain[2])
    _, forward = jax.jit(lambda s: jax.jvp(partial(value, block=None), (s,), (jnp.ones(()),)))(scales[0])
    close(forward, plain[1][0][0])


def test_captured_parameters_are_differentiated():
    """A closure over traced arrays, what `functools.partial(net.apply, params)` is, has the gradient of a module."""

    def value(matrices, block):
        model = SoftmaxAttention(*matrices)
        inner = jax.jit(lambda x, t: model(x, t) * jnp.ones((3, 4)))  # with constants of its own
        return denoising_loss(lambda x, t: inner(x, t), X0, SCHEDULE, t=LEVELS, noise=NOISE, block=block)

    plain, blocked = (jax.jit(jax.grad(partial(value, block=block)))(MATRICES) for block in (None, 4))
    close(blocked, plain)
    assert min(float(jnp.abs(leaf).max()) for leaf in plain) > 1e-3


def linear_risks(a, rho):
    """E (a x - epsilon)^2 for x = r x0 + c epsilon and x0 ~ N(0, rho^2), at each level."""
    return (a * SCHEDULE.noise_root - 1) ** 2 + a**2 * SCHEDULE.alpha_bar * rho**2


def test_the_gradient_at_a_matrix_known_to_be_zero():
    """XLA on CPUs takes it for zero, at such sizes, when the matrix is a constant of the program."""
    shape = (2, 64, 64)
    x0, noise = (normal(key, shape, jnp.float32) for key in jax.random.split(KEY))
    schedule = Schedule.from_alphas(SCHEDULE.alphas.astype(jnp.float32))

    def slope(W):
        def of(W):
            head = MeanDenoisingAttention(W, jnp.ones(T, jnp.float32))
            return denoising_loss(head, x0, schedule, t=LEVELS[:2], noise=noise, block=1)

        return jax.grad(of)(W)

    zero = jnp.zeros((64, 64), jnp.float32)
    known, given = jax.jit(lambda: slope(jnp.zeros((64, 64), jnp.float32)))(), jax.jit(slope)(zero)
    assert float(jnp.abs(given).max()) > 1e-4
    close(known, given)


def test_risks_of_a_linear_model_are_the_exact_ones():
    """Squares of Gaussians of variance s: a mean of n has standard error s sqrt(2 / n)."""
    n, a, rho = 20000, 0.8, 1.5
    x0 = rho * normal(jax.random.key(5), (n, 4))
    exact = linear_risks(a, rho)

    def model(x, t):
        return a * x

    errors = exact * np.sqrt(2 / (4 * n))
    found = risks(model, x0, SCHEDULE, KEY)
    assert (abs(found - exact) < 4 * errors).all()
    weights = jnp.asarray([0.0, 3.0, 0.0, 1.0, 0.0])
    for levels, expected in (("uniform", exact), ("stratified", exact), (weights, exact[jnp.asarray([1, 1, 1, 3])])):
        value = loss(model, x0, SCHEDULE, key=KEY, levels=levels)
        # the spread of the levels' risks adds to the noise where levels are drawn at random
        error = np.sqrt(float(jnp.mean(expected**2)) * 2 / (4 * n) + float(jnp.var(expected)) / n)
        assert abs(float(value - jnp.mean(expected))) < 4 * error, levels


def test_the_noise_alone_is_the_risk_of_saying_nothing():
    for noise in ("threefry", "counter"):
        value = loss(lambda x, t: 0 * x, jnp.zeros((5000, 8)), SCHEDULE, key=KEY, noise=noise)
        assert abs(float(value) - 1) < 4 * np.sqrt(2 / 40000)


@pytest.mark.parametrize("batch", [1, 4, 5, 7, 10, 23])
def test_stratified_levels_are_as_even_as_the_batch_allows(batch):
    keys = jax.random.split(KEY, 4000)
    t = np.asarray(jax.vmap(lambda key: draw_levels(key, batch, SCHEDULE, "stratified"))(keys))
    counts = (t[:, :, None] == np.arange(T)).sum(1)
    assert counts.min() >= batch // T and counts.max() <= -(-batch // T)
    share = (t[:, :, None] == np.arange(T)).mean(0)  # of each point by itself
    assert abs(share - 1 / T).max() < 5 * np.sqrt(0.16 / 4000)


def test_weighted_levels():
    weights = np.asarray([0.0, 1.0, 0.0, 3.0, 0.0])
    for batch in (4, 6, 100):
        keys = jax.random.split(KEY, 500)
        t = np.asarray(jax.vmap(lambda key, n=batch: draw_levels(key, n, SCHEDULE, weights))(keys))
        counts = (t[:, :, None] == np.arange(T)).sum(1)
        assert (abs(counts - batch * weights / 4) <= 1).all()
        assert set(np.unique(t)) == {1, 3}


def test_models_of_every_library_give_one_loss():
    flax = pytest.importorskip("flax", reason="an extra of the package")
    linen, nnx = flax.linen, pytest.importorskip("flax.nnx")
    kernel, bias = MATRICES[0], jnp.arange(4.0)

    def plain(params, x, t):
        return (x @ params["kernel"] + params["bias"]) * (1 + t)

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x, t):
            return linen.Dense(D, param_dtype=jnp.float64)(x) * (1 + t)

    class Nnx(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(D, D, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

        def __call__(self, x, t):
            return self.dense(x) * (1 + t)

    class Equinox(eqx.Module):
        kernel: jax.Array
        bias: jax.Array

        def __call__(self, x, t):
            return (x @ self.kernel + self.bias) * (1 + t)

    params = {"kernel": kernel, "bias": bias}
    with_nnx = Nnx()
    with_nnx.dense.kernel[...], with_nnx.dense.bias[...] = kernel, bias
    models = {
        "function": partial(plain, params),
        "equinox": Equinox(kernel, bias),
        "linen": partial(Linen().apply, {"params": {"Dense_0": params}}),
        "nnx": with_nnx,
    }
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = {
            name: float(jax.jit(partial(denoising_loss, model, block=5))(X0, SCHEDULE, t=LEVELS, noise=NOISE))
            for name, model in models.items()
        }
    np.testing.assert_allclose(list(losses.values()), losses["function"], rtol=1e-13)


@pytest.mark.parametrize("noise", ["threefry", "counter"])
def test_it_lowers_for_accelerators_in_blocks(noise):
    @jax.jit
    def step(model, x0, key):
        return jax.value_and_grad(
            lambda model: denoising_loss(model, x0, SCHEDULE, key=key, noise=noise, levels="stratified", block=4)
        )(model)

    exported = jax.export.export(step, platforms=("cuda", "tpu"))(HEAD, X0, KEY)
    assert "callback" not in exported.mlir_module()


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, "key and t are both missing"),
        ({"key": KEY, "t": LEVELS}, "key and t are both given"),
        ({"t": LEVELS}, "noise = 'threefry' with t="),
        ({"key": KEY, "noise": NOISE}, "noise is an array"),
        ({"key": KEY, "noise": "philox"}, "noise is 'philox'"),
        ({"t": LEVELS + 1, "noise": NOISE}, r"t = 5 lies outside 0\.\.4"),
        ({"t": LEVELS[:3], "noise": NOISE}, r"t \(3,\)"),
        ({"t": LEVELS, "noise": NOISE[:, :2]}, r"noise \(13, 2, 4\)"),
        ({"key": KEY, "levels": "even"}, "levels = 'even'"),
        ({"key": KEY, "levels": np.ones(4)}, r"levels has the shape \(4,\)"),
        ({"key": KEY, "levels": -np.ones(5)}, "levels holds weights"),
        ({"key": KEY, "levels": np.zeros(5)}, "levels holds weights"),
        ({"key": KEY, "parametrisation": "mean"}, "parametrisation = 'mean'"),
        ({"key": KEY, "block": 0}, "block = 0"),
        ({"key": KEY, "block": "small"}, "block = 'small'"),
        ({"key": KEY, "x0": X0[:0]}, r"x0 has the shape \(0, 3, 4\)"),
        ({"key": KEY, "x0": jnp.ones(3)}, r"x0 has the shape \(3,\)"),
        ({"key": KEY, "model": lambda x, t: x[:2]}, r"\(3, 4\) to \(2, 4\)"),
        ({"key": KEY, "model": lambda x, t: (x, t)}, r"the model maps a point of the shape \(3, 4\) to"),
    ],
)
def test_bad_input_is_refused(change, said):
    given = {"model": HEAD, "x0": X0, "schedule": SCHEDULE} | change
    with pytest.raises(ValueError, match=said):
        denoising_loss(**given)


def test_a_wrong_model_is_refused_before_it_is_compiled(compilations):
    t, noise = np.asarray(LEVELS), np.asarray(NOISE)
    with compilations() as count:
        with pytest.raises(ValueError, match=r"\(3, 4\) to \(3,\)"):
            denoising_loss(lambda x, t: jnp.sum(x, 1), X0, SCHEDULE, t=t, noise=noise)
        assert count() == 0
