"""The diffusion transformer: its start, symmetries, gradients, precisions, and a twin in Flax."""

from functools import partial

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import diffusion
from theorylab.diffusion.dit import sinusoids

KEY = jax.random.key(0)
IMAGE, TOKENS = (3, 4, 6), (5, 4)
X = jnp.asarray(np.random.default_rng(1).normal(size=IMAGE))


def awake(model):
    """A model none of whose weights is zero."""
    draws = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.2 * draws.normal(size=leaf.shape)), model)


@pytest.fixture(scope="module")
def fresh():
    return diffusion.DiT(IMAGE, patch=2, width=12, depth=2, heads=3, key=KEY)


@pytest.fixture(scope="module")
def image(fresh):
    return awake(fresh)


@pytest.fixture(scope="module")
def tokens():
    return awake(diffusion.DiT(TOKENS, width=8, depth=2, heads=2, key=KEY))


@eqx.filter_jit
def apply(model, x, t):
    return model(x, t)


def test_at_the_start_the_output_is_exactly_zero_and_its_last_layer_alone_learns(fresh):
    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model):
        return jnp.sum((model(X, 3) - 1) ** 2)

    value, slopes = loss(fresh)
    assert float(value) == X.size
    named = {jax.tree_util.keystr(path): slope for path, slope in jax.tree_util.tree_leaves_with_path(slopes)}
    assert {name for name, slope in named.items() if jnp.any(slope != 0)} == {".readout.weight", ".readout.bias"}
    # once nothing is zero, every weight matters
    slopes = jax.tree.leaves(loss(awake(fresh))[1])
    assert all(bool(jnp.all(jnp.isfinite(slope)) & jnp.any(slope != 0)) for slope in slopes)


def test_patches_are_cut_and_joined_as_they_lie(image):
    cut = image._cut(X)
    assert cut.shape == (6, 12) and np.array_equal(image._join(cut), X)
    assert np.array_equal(cut[4].reshape(2, 2, 3), np.moveaxis(X[:, 2:4, 2:4], 0, -1))


def test_tokens_are_a_set_of_any_size_and_patches_are_not(tokens, image):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)))
    order = np.asarray([3, 0, 4, 1, 2])
    y = apply(tokens, x, 2)
    assert np.allclose(apply(tokens, x[order], 2), y[order], rtol=0, atol=1e-12)
    assert tokens(x[:3], 2).shape == (3, 4)
    turned = X[:, ::-1]
    assert float(jnp.max(jnp.abs(apply(image, turned, 2) - apply(image, X, 2)[:, ::-1]))) > 1e-3


def test_the_level_matters_and_comes_as_sines(image):
    assert float(jnp.max(jnp.abs(apply(image, X, 2) - apply(image, X, 3)))) > 1e-4
    wave = sinusoids(7, 6)
    angles = 7 * 10_000.0 ** (-np.arange(3) / 3)
    assert np.allclose(wave, np.concatenate([np.cos(angles), np.sin(angles)]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_it_computes_in_the_precision_of_its_weights_and_answers_in_that_of_its_point(kind, image):
    model = jax.tree.map(lambda leaf: leaf.astype(kind), image)
    x = X.astype(jnp.float32)
    y, expected = apply(model, x, 5), np.asarray(apply(image, X, 5))
    assert y.dtype == jnp.float32
    y = np.asarray(y, float)
    # some thirty roundings in a row, that of weights and of values
    error = np.sqrt(np.mean((y - expected) ** 2) / np.mean(expected**2))
    assert error < 30 * float(jnp.finfo(kind).eps)


class FlaxBlock(nn.Module):
    """The block in Linen."""

    heads: int

    @nn.compact
    def __call__(self, x, level):
        width = x.shape[-1]
        dense = partial(nn.Dense, dtype=x.dtype, param_dtype=x.dtype)
        norm = partial(nn.LayerNorm, use_scale=False, use_bias=False, dtype=x.dtype, use_fast_variance=False)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = dense(6 * width, name="modulation")(level).reshape(
            6, 1, -1
        )
        q, k, v = jnp.split(dense(3 * width, name="qkv")(norm()(x) * (1 + scale) + shift), 3, axis=-1)
        q, k, v = (part.reshape(len(x), self.heads, -1) for part in (q, k, v))
        mixed = nn.dot_product_attention(q, k, v).reshape(x.shape)
        x = x + gate * dense(width, name="out")(mixed)
        hidden = nn.gelu(dense(4 * width, name="up")(norm()(x) * (1 + mlp_scale) + mlp_shift))
        return x + mlp_gate * dense(width, name="down")(hidden)


class FlaxDiT(nn.Module):
    """The transformer in Linen, for tokens."""

    depth: int
    width: int
    heads: int

    @nn.compact
    def __call__(self, x, t):
        dense = partial(nn.Dense, dtype=x.dtype, param_dtype=x.dtype)
        h = dense(self.width, name="embed")(x)
        level = nn.silu(dense(self.width, name="level_up")(sinusoids(t, self.width).astype(x.dtype)))
        level = nn.silu(dense(self.width, name="level_down")(level))
        for i in range(self.depth):
            h = FlaxBlock(self.heads, name=f"block_{i}")(h, level)
        shift, scale = dense(2 * self.width, name="modulation")(level).reshape(2, 1, -1)
        norm = nn.LayerNorm(use_scale=False, use_bias=False, dtype=x.dtype, use_fast_variance=False)
        return dense(x.shape[-1], name="readout")(norm(h) * (1 + scale) + shift)


def to_flax(model):
    """The weights of the module, by the names of the twin; a kernel is a weight transposed."""

    def layer(linear):
        return {"kernel": linear.weight.T, "bias": linear.bias}

    def block(part):
        return {name: layer(getattr(part, name)) for name in ("modulation", "qkv", "out", "up", "down")}

    names = ("embed", "level_up", "level_down", "modulation", "readout")
    params = {name: layer(getattr(model, name)) for name in names}
    for i in range(model.blocks.qkv.weight.shape[0]):
        params[f"block_{i}"] = block(jax.tree.map(lambda leaf, i=i: leaf[i], model.blocks))
    return {"params": params}


def test_the_twin_in_flax_is_the_same_function_and_has_the_same_loss(tokens, standard_promotion):
    """To the rounding of some thousands of terms."""
    net, params = FlaxDiT(depth=2, width=8, heads=2), to_flax(tokens)
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(6, *TOKENS)))
    schedule = diffusion.Schedule.linear_alpha(0.98, 0.8, 10)
    made = jax.eval_shape(net.init, KEY, x0[0], jnp.int32(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)

    def loss(model):
        return diffusion.denoising_loss(model, x0, schedule, key=jax.random.key(3))

    ours = eqx.filter_jit(loss)(tokens)
    theirs = jax.jit(lambda params: loss(partial(net.apply, params)))(params)
    assert float(theirs) == pytest.approx(float(ours), rel=1e-12)


def test_it_can_be_sampled_from(fresh):
    """At the start it predicts no noise, and DDIM only takes the signal's scale away."""
    schedule = diffusion.Schedule.linear_alpha(0.98, 0.8, 4)
    x0 = diffusion.sample_ddim(fresh, schedule, X[None])
    assert np.allclose(x0, X[None] / schedule.signal_root[-1], rtol=1e-12, atol=0)


def test_bad_input_is_named(image):
    dit = partial(diffusion.DiT, key=KEY)
    with pytest.raises(ValueError, match=r"patch = 3 does not divide the sides of an image \(3, 4, 6\)"):
        dit(IMAGE, patch=3)
    with pytest.raises(ValueError, match=r"shape = \(3, 4, 6\) with patch = None: pass"):
        dit(IMAGE)
    with pytest.raises(ValueError, match=r"width = 10 must be even, and a multiple of heads = 4"):
        dit(TOKENS, width=10)
    with pytest.raises(ValueError, match=r"depth = 0 must be an integer from 1 on"):
        dit(TOKENS, depth=0)
    with pytest.raises(ValueError, match=r"x has the shape \(2, 3, 4, 6\), and the model was built for \(3, 4, 6\)"):
        image(jnp.stack([X, X]), 0)
