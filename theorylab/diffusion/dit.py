"""A small diffusion transformer (DiT), for images and for tokens."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from ..numerics.checked import Key
from ..numerics.draws import normal
from .counter import working_dtype

MLP_RATIO = 4
SLOWEST = 10_000.0
POSITION_SCALE = 0.02


class DiTBlock(eqx.Module):
    """Attention and an MLP, each normalised, shifted, scaled and gated by the level (adaLN-zero).

    **Arguments**: `width` and `heads`, of which the second divides the first; `key`, a typed key ().

    **Source**: Peebles, Xie (2023), arXiv 2212.09748.

        >>> import jax, jax.numpy as jnp
        >>> from theorylab.diffusion.dit import DiTBlock
        >>> block, x = DiTBlock(8, 2, key=jax.random.key(0)), jnp.arange(24.0).reshape(3, 8)
        >>> bool(jnp.all(block(x, jnp.ones(8)) == x))  # its gates are closed at the start
        True
    """

    modulation: eqx.nn.Linear
    qkv: eqx.nn.Linear
    out: eqx.nn.Linear
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, 5)
        self.modulation = _zero(eqx.nn.Linear(width, 6 * width, key=keys[0]))
        self.qkv = eqx.nn.Linear(width, 3 * width, key=keys[1])
        self.out = eqx.nn.Linear(width, width, key=keys[2])
        self.up = eqx.nn.Linear(width, MLP_RATIO * width, key=keys[3])
        self.down = eqx.nn.Linear(MLP_RATIO * width, width, key=keys[4])
        self.heads = heads

    def __call__(self, x: Float[Array, "tokens width"], level: Float[Array, " width"]) -> Float[Array, "tokens width"]:
        """The tokens after the block; `level` embeds the level of noise."""
        modulation = jnp.split(self.modulation(level)[None], 6, axis=1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation
        x = x + gate * self._attend(_normalise(x) * (1 + scale) + shift)
        hidden = jax.nn.gelu(_each(self.up, _normalise(x) * (1 + mlp_scale) + mlp_shift))
        return x + mlp_gate * _each(self.down, hidden)

    def _attend(self, x):
        q, k, v = (one.reshape(len(x), self.heads, -1) for one in jnp.split(_each(self.qkv, x), 3, axis=1))
        scores = _wide(jnp.einsum("phe,qhe->hpq", q, k)) / q.shape[-1] ** 0.5
        mixed = jnp.einsum("hpq,qhe->phe", jax.nn.softmax(scores).astype(x.dtype), v)
        return _each(self.out, mixed.reshape(x.shape))


class DiT(eqx.Module):
    r"""A diffusion transformer `model(x, t)` whose output is exactly zero at the start.

    An image is cut into patches, each of which has a learned position; a set of tokens has none, so that the model is
    equivariant under their permutations. The level enters by sines and cosines, of frequencies from 1 down to 1e-4,
    through a small MLP. It computes in the precision of its weights and answers in that of x.

    **Arguments**: `shape`, of a data point: (channels, height, width) with `patch`, the side of a patch, which divides
    height and width; or (tokens, d) without: the model then takes any number of tokens; `width`, of the residual
    stream, even; `depth`, the number of blocks; `heads`, which divides the width; `key`, a key or a seed.

    **Raises** `ValueError` for a shape that is neither, sides that do not divide, and numbers below 1.

    **Source**: Peebles, Xie (2023), arXiv 2212.09748, without classes, and with learned positions as in ViT; checked
    against a twin in Flax.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> model = tl.diffusion.DiT((1, 8, 8), patch=2, width=16, depth=2, heads=2, key=jax.random.key(0))
        >>> x = jnp.ones((1, 8, 8))
        >>> model(x, 3).shape, float(abs(model(x, 3)).max()), model.positions.shape
        ((1, 8, 8), 0.0, (16, 16))
    """

    embed: eqx.nn.Linear
    positions: Float[Array, "*lanes patches width"] | None
    level_up: eqx.nn.Linear
    level_down: eqx.nn.Linear
    blocks: DiTBlock
    modulation: eqx.nn.Linear
    readout: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    patch: int | None = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        patch: int | None = None,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        key: Key,
    ):
        _check(shape, patch, width, depth, heads)
        self.shape, self.patch = tuple(shape), patch
        keys = jax.random.split(key, 7)
        self.positions, inputs = None, shape[-1]
        if patch is not None:
            channels, height, across = shape
            inputs = channels * patch**2
            count = height * across // patch**2
            self.positions = POSITION_SCALE * normal(keys[0], (count, width))
        self.embed = eqx.nn.Linear(inputs, width, key=keys[1])
        self.level_up = eqx.nn.Linear(width, width, key=keys[2])
        self.level_down = eqx.nn.Linear(width, width, key=keys[3])
        # one block whose leaves have a leading axis: it compiles once, whatever the depth
        self.blocks = eqx.filter_vmap(lambda key: DiTBlock(width, heads, key=key))(jax.random.split(keys[4], depth))
        self.modulation = _zero(eqx.nn.Linear(width, 2 * width, key=keys[5]))
        self.readout = _zero(eqx.nn.Linear(width, inputs, key=keys[6]))

    def __call__(self, x: Float[Array, "*point"], t: int | Integer[Array, ""]) -> Float[Array, "*point"]:
        """The prediction at one data point x at level t, of the shape and dtype of x."""
        free = 0 if self.patch else 1  # any number of tokens
        if x.shape[free:] != self.shape[free:] or x.ndim != len(self.shape):
            raise ValueError(
                f"x has the shape {x.shape}, and the model was built for {self.shape}: pass one data point, and map "
                "over a batch by jax.vmap"
            )
        dtype = self.embed.weight.dtype
        h = _each(self.embed, self._cut(x.astype(dtype)))
        if self.positions is not None:
            h = h + self.positions
        level = self.level_down(jax.nn.silu(self.level_up(sinusoids(t, h.shape[1]).astype(dtype))))
        level = jax.nn.silu(level)
        h = lax.scan(lambda h, block: (block(h, level), None), h, self.blocks)[0]
        shift, scale = jnp.split(self.modulation(level)[None], 2, axis=1)
        return self._join(_each(self.readout, _normalise(h) * (1 + scale) + shift)).astype(x.dtype)

    def _cut(self, x):
        """Patches, row by row, each with its pixels row by row and its channels last."""
        if self.patch is None:
            return x
        channels, height, across = self.shape
        p = self.patch
        x = x.reshape(channels, height // p, p, across // p, p)
        return x.transpose(1, 3, 2, 4, 0).reshape(-1, p * p * channels)

    def _join(self, patches):
        if self.patch is None:
            return patches
        channels, height, across = self.shape
        p = self.patch
        patches = patches.reshape(height // p, across // p, p, p, channels)
        return patches.transpose(4, 0, 2, 1, 3).reshape(self.shape)


def sinusoids(t: int | Integer[Array, ""], width: int) -> Float[Array, " width"]:
    r"""A level as cosines and sines $\cos(t\omega_j), \sin(t\omega_j)$, $\omega_j = 10^{-8j/\text{width}}$.

    **Arguments**: `t`, an integer (); `width`, even: half of it are the frequencies.

    **Returns** float32 (width,): in half precision neighbouring levels beyond 256 would be one.

    **Source**: Vaswani et al. (2017), arXiv 1706.03762, as in Peebles, Xie (2023).

        >>> from theorylab.diffusion.dit import sinusoids
        >>> sinusoids(0, 4).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    frequencies = np.float32(SLOWEST ** (-2 / width * np.arange(width // 2)))
    angles = jnp.asarray(t, jnp.float32) * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


def _each(linear, x):
    """A linear map of each token, as one product: mapped over the tokens it transposes them twice."""
    return x @ linear.weight.T + linear.bias[None]


def _wide(x):
    """In float32 at least, for sums in half precision."""
    return x.astype(working_dtype(x.dtype))


def _normalise(x):
    """Each token with mean zero and variance one."""
    wide = _wide(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return (centred * lax.rsqrt(variance + 1e-6)).astype(x.dtype)


def _zero(linear):
    return jax.tree.map(jnp.zeros_like, linear)


def _check(shape, patch, width, depth, heads):
    numbers = {"width": width, "depth": depth, "heads": heads, **({} if patch is None else {"patch": patch})}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r} must be an integer from 1 on")
    if len(shape) != (2 if patch is None else 3) or min(shape) < 1:
        raise ValueError(
            f"shape = {shape} with patch = {patch}: pass (channels, height, width) with a patch, or (tokens, d) without"
        )
    if patch is not None and (shape[1] % patch or shape[2] % patch):
        raise ValueError(f"patch = {patch} does not divide the sides of an image {shape}: take a divisor of both")
    if width % 2 or width % heads:
        raise ValueError(f"width = {width} must be even, and a multiple of heads = {heads}")
