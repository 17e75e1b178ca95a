"""One layer of attention as a denoiser: the mean-denoising head, softmax and linear attention with a skip."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Integer, ScalarLike

from ..engine.method import hyperparameter
from ..numerics.arrays import floating
from ..numerics.checked import Key


def attention_weights(x: Float[Array, "tokens d"], W: Float[Array, "d d"]) -> Float[Array, "tokens tokens"]:
    r"""Compute the softmax attention of tokens on one another, $A_{ij} = \mathrm{softmax}_j(x_j^T W x_i)$.

    **Arguments**: `x`, tokens (tokens, d); `W` (d, d), the product of key and query matrices, merged: divide it by a
    temperature where the scores should be.

    **Returns** (tokens, tokens): a row for each query, which sums to 1.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.diffusion.attention_weights(jnp.eye(2), jnp.zeros((2, 2))).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    return jax.nn.softmax((x @ W.T) @ x.T, axis=-1)


class MeanDenoisingAttention(eqx.Module):
    r"""$f(X, t)_i = v_t\,\big(x_i - \sum_j A_{ij} x_j\big)$ with $A_{ij} = \mathrm{softmax}_j(x_j^T W x_i / d)$.

    One head whose value matrix is -I beside a skip connection: where attention falls on tokens of the same mean, the
    sum estimates that mean, and what is left of the token is noise.

    **Arguments**: `W` (d, d); `v`, one scale for each level (T,), or one for all, ().

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> model = tl.diffusion.MeanDenoisingAttention(jnp.zeros((1, 1)), 2.0)
        >>> model(jnp.asarray([[1.0], [3.0]]), 0).tolist()
        [[-2.0], [2.0]]
    """

    W: Float[Array, "*lanes d d"]
    v: Float[Array, "..."]

    def __init__(self, W: ArrayLike, v: ArrayLike):
        self.W = floating(W)
        self.v = hyperparameter(v)
        _check_square("W", self.W)
        if self.v.ndim > 1:
            raise ValueError(f"v has the shape {self.v.shape}: pass one scale for each level (T,), or one for all, ()")

    @classmethod
    def initial(cls, key: Key, *, d: int, levels: int, v: ArrayLike | None = None) -> "MeanDenoisingAttention":
        """Start as the paper does: W = 0, and v drawn from N(0, 1/d) for each of `levels`, or all of them equal `v`."""
        scales = jax.random.normal(key, (levels,)) / d**0.5 if v is None else jnp.full((levels,), v, float)
        return cls(jnp.zeros((d, d)), scales)

    def __call__(self, x: Float[Array, "tokens d"], t: int | Integer[Array, ""]) -> Float[Array, "tokens d"]:
        """Predict the noise on tokens x at level t."""
        v = self.v[t] if self.v.ndim else self.v
        return v.astype(x.dtype) * (x - self.attention(x) @ x)

    def attention(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens tokens"]:
        """Compute the attention A of each token (row) on each (column)."""
        return attention_weights(x, self.W / self.W.shape[0])


class SoftmaxAttention(eqx.Module):
    r"""$F(X)_i = S x_i + V \sum_j A_{ij} x_j$ with $A_{ij} = \mathrm{softmax}_j(x_j^T W x_i)$, at every level alike.

    **Arguments**: `W`, `S` and `V`, (d, d): the merged query-key, skip and value matrices.

    **Source**: one-layer softmax attention with a linear skip, reconstructed from the companion theory.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> model = tl.diffusion.SoftmaxAttention(jnp.zeros((1, 1)), jnp.eye(1), -jnp.eye(1))
        >>> model(jnp.asarray([[1.0], [3.0]]), 0).tolist()
        [[-1.0], [1.0]]
    """

    W: Float[Array, "*lanes d d"]
    S: Float[Array, "*lanes d d"]
    V: Float[Array, "*lanes d d"]

    def __init__(self, W: ArrayLike, S: ArrayLike, V: ArrayLike):
        self.W, self.S, self.V = floating(W), floating(S), floating(V)
        _check_square("W", self.W)
        _check_square("S", self.S, self.W.shape)
        _check_square("V", self.V, self.W.shape)

    def __call__(self, x: Float[Array, "tokens d"], t: int | Integer[Array, ""] = 0) -> Float[Array, "tokens d"]:
        """Predict the noise on tokens x."""
        del t
        return x @ self.S.T + (self.attention(x) @ x) @ self.V.T

    def attention(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens tokens"]:
        """Compute the attention A of each token (row) on each (column)."""
        return attention_weights(x, self.W)


class LinearAttention(eqx.Module):
    r"""$F(X)_i = S x_i + V \bar x$, with $\bar x$ the mean of the tokens: softmax attention at W = 0.

    **Arguments**: `S` and `V`, (d, d).

    **Source**: derived here, as the model whose optimum and descent are known exactly (`SharedMeanMixture`).

        >>> import jax.numpy as jnp, theorylab as tl
        >>> model = tl.diffusion.LinearAttention(jnp.eye(1), -jnp.eye(1))
        >>> model(jnp.asarray([[1.0], [3.0]]), 0).tolist()
        [[-1.0], [1.0]]
    """

    S: Float[Array, "*lanes d d"]
    V: Float[Array, "*lanes d d"]

    def __init__(self, S: ArrayLike, V: ArrayLike):
        self.S, self.V = floating(S), floating(V)
        _check_square("S", self.S)
        _check_square("V", self.V, self.S.shape)

    def __call__(self, x: Float[Array, "tokens d"], t: int | Integer[Array, ""] = 0) -> Float[Array, "tokens d"]:
        """Predict the noise on tokens x."""
        del t
        return x @ self.S.T + jnp.mean(x, axis=0, keepdims=True) @ self.V.T


def oracle_start(
    d: int, coefficient: ScalarLike, *, v: ScalarLike = 1.0, w: ScalarLike = 0.0
) -> tuple[Float[Array, "d d"], Float[Array, "d d"], Float[Array, "d d"]]:
    r"""Make the matrices (W, S, V) from which attention is trained: $W = w I$, $S = a I$ and $V = -v a I$.

    With the skip held at the oracle's coefficient $a = c / (c^2 + \rho^2 \bar\alpha)$, descent from W = 0 learns to
    denoise by means; with a free skip W = 0 is a critical point, and a start w > 0 is needed.

    **Arguments**: `d`, the dimension of tokens; `coefficient` a, (); `v`, (), the share of the mean that is subtracted;
    `w`, ().

    **Returns** (W, S, V), (d, d) each.

    **Raises** `ValueError` for d < 1.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> model = tl.diffusion.SoftmaxAttention(*tl.diffusion.oracle_start(2, 0.5, v=0.1))
        >>> model.V.round(3).tolist()
        [[-0.05, -0.0], [-0.0, -0.05]]
    """
    if d < 1:
        raise ValueError(f"d = {d} must be at least 1: the dimension of tokens")
    eye = jnp.eye(d)
    a, v, w = (jnp.asarray(value, eye.dtype) for value in (coefficient, v, w))
    return w * eye, a * eye, -v * a * eye


def _check_square(name, matrix, shape=None):
    wanted = (matrix.shape[-1:] * 2) if shape is None else shape
    if matrix.ndim != 2 or matrix.shape != wanted:
        raise ValueError(f"{name} has the shape {matrix.shape}: pass a square matrix (d, d), d the dimension of tokens")
