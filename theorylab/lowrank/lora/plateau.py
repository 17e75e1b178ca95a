"""Why a small Gaussian start ends in a plateau, and how high: the flow of two adapter pairs around one direction."""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ...numerics.checked import Numbers, finite
from ...numerics.flow import check_times
from .flow import Four, check_adapters

# how far singular directions may disagree, relative: rounding of products and decompositions, with room
SHARED = 1e-8


class RankOneLora(NamedTuple):
    """What `rank_one_lora_flow` returns."""

    loss: Float[np.ndarray, " times"]
    misalignment1: Float[np.ndarray, " times"]
    misalignment2: Float[np.ndarray, " times"]
    norm1: Float[np.ndarray, " times"]
    norm2: Float[np.ndarray, " times"]


class _Layers(NamedTuple):
    """The pretrained layers, apart into the direction of the difference (delta, w1, w2) and the rest; the starts."""

    delta: float
    w1: float
    w2: float
    rest1: np.ndarray
    rest2: np.ndarray
    a1: float
    a2: float


def rank_one_lora_flow(
    W1: Real[ArrayLike, "h n"],
    W2: Real[ArrayLike, "m h"],
    target: Real[ArrayLike, "m n"],
    adapters: Four,
    ts: Numbers,
    *,
    rtol: float = 1e-12,
    atol: float = 1e-20,
) -> RankOneLora:
    r"""Predict `two_layer_lora_flow` from a small start with B = 0, to leading order around its one growing direction.

    Let the difference be $\delta uv^T$ with $W_2g = w_2u$, $W_1v = w_1g$. Along it runs `scalar_lora_flow` from
    $\|A_1v\|$, $\|A_2g\|$. Off it, $x$ of $A_1^T$, $y$ of $B_1$, $s$ of $A_2^T$ and $t$ of $B_2$ follow a linear flow,

    $\dot x = (w_2 + p_2)b_1\xi$, $\dot y = a_1(W_2'^T\eta + b_2es)$, $\dot s = b_2(W_1'\xi + a_1ey)$, $\dot t = (w_1 +
    p_1)a_2\eta$,

    with $W_i'$ the rest of the layers and the residuals $\xi = -(w_2 + p_2)b_1x - b_2W_1'^Ts$ in the row of u, $\eta =
    -a_1W_2'y - a_2(w_1 + p_1)t$ in the column of v. These go to zero; the block $(W_2'y + a_2b_1t)x^T + ts^TW_1'$, of
    second order, stays: the plateau of the loss. The frozen $s \sim \alpha$ of the second layer keeps x and y at the
    order $\alpha\|B_2\| \sim \alpha^{2 - \delta_w}$, $\delta_w = w_1/w_2 < 1$, so that $1 - \cos$ ends at the power
    $4 - 2\delta_w$ of the scale, that of the second layer at $2\delta_w$, and the loss at twice the first, as far as
    $\|B_2\|$ is small. What is left out vanishes with the scale, once the direction has outgrown the rest of the start:
    the quotients of loss, $1 - \cos$ and norms by the flow's own come to one.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n); `adapters` (A1, B1, A2, B2) with B1 = B2 = 0; `ts`
    (times,), rising; `rtol` and `atol` of the flow, with atol below the square root of the loss.

    **Returns** `loss`; `misalignment1` and `misalignment2`, $1 - \cos$ of the angle between the top left singular
    vector of $Z_i = [B_i; A_i^T]$ and the direction; `norm1` and `norm2`, $\|Z_i\|_F$; (times,) each, float64.

    **Raises** `ValueError` for a difference that is not of rank one on singular directions that the layers share,
    adapters with B not 0, times so late that a float64 does not resolve the flow's own there, and times or tolerances
    out of range.

    **Source**: derived here, for the setting of Xu et al. (2025), arXiv 2503.06982, Section 3; checked against
    `two_layer_lora_flow`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> W1, W2, target = jnp.eye(2), 2 * jnp.eye(2), jnp.diag(jnp.asarray([4.0, 2.0]))
        >>> start = tl.lowrank.lora.Adapters(0.1 * jnp.ones((1, 2)), 0 * jnp.ones((2, 1)), 0.1 * jnp.ones((1, 2)),
        ...     0 * jnp.ones((2, 1)))
        >>> ts = jnp.asarray([0.0, 9.0])
        >>> found = tl.lowrank.lora.rank_one_lora_flow(W1, W2, target, start, ts, rtol=1e-5, atol=1e-9)
        >>> round(float(found.loss[0]), 2), bool(found.loss[1] < 1e-3)
        (2.0, True)
    """
    from scipy.integrate import solve_ivp

    W1, W2, target = (np.asarray(one, float) for one in (W1, W2, target))
    A1, B1, A2, B2 = four = tuple(np.asarray(one, float) for one in adapters)
    check_adapters(W1, W2, four)
    finite(W1=W1, W2=W2, target=target, **{"adapters.A1": A1, "adapters.A2": A2})
    for name, B in (("B1", B1), ("B2", B2)):
        if np.any(B):
            raise ValueError(f"adapters.{name} is not 0: the prediction is for starts with B = 0")
    delta, u, g, v = _direction(W1, W2, target)
    w1, w2 = float(g @ W1 @ v), float(u @ W2 @ g)
    along1, along2 = A1 @ v, A2 @ g
    a1, a2 = float(np.linalg.norm(along1)), float(np.linalg.norm(along2))
    if not (a1 > 0 and a2 > 0):
        raise ValueError(
            f"A1 v and A2 g have the norms {a1} and {a2}: the start must not be orthogonal to the direction"
        )
    layers = _Layers(delta, w1, w2, W1 - w1 * np.outer(g, v), W2 - w2 * np.outer(u, g), a1, a2)
    off1, off2 = A1.T @ along1 / a1 - a1 * v, A2.T @ along2 / a2 - a2 * g
    begin = a1**2 + off1 @ off1, a2**2 + off2 @ off2
    still = np.sum(A1**2) - begin[0], np.sum(A2**2) - begin[1]
    times = np.asarray(ts, float)
    check_times(times, rtol, atol, np.float64)
    rate = delta * max(w1, w2)
    if times[-1] * rate * np.finfo(float).eps > 1:
        raise ValueError(
            f"ts reaches {times[-1]:.1e}, where a float64 does not tell times {1 / rate:.1e} apart, in which the flow "
            "grows and comes to rest: end ts earlier, nothing moves that late"
        )
    first = np.concatenate([[0.0, 0.0], off1, np.zeros(len(g)), off2, np.zeros(len(u))])
    rising, at = np.unique(times, return_inverse=True)
    span = (0.0, times[-1] or 1.0)  # LSODA never ends where there is nothing to do
    # stiff: directions of the layers relax at rates of their own
    run = solve_ivp(_around, span, first, "LSODA", rising, args=(layers,), rtol=rtol, atol=atol)
    if not run.success:
        raise ValueError(f"rtol = {rtol}, atol = {atol}: the flow stopped at {run.t[-1:]}, {run.message}: loosen them")
    read = [_read(around, layers, (u, g, v), begin, still) for around in run.y.T]
    return RankOneLora(*np.asarray(read)[at].T)


def _direction(W1, W2, target):
    """The difference's size and its directions u, g, v, if the layers share them."""
    gap = target - W2 @ W1
    left, values, right = np.linalg.svd(gap)
    size, u, v = values[0], left[:, 0], right[0]
    scale = max(np.linalg.norm(W2) * np.linalg.norm(W1), size)
    rest = values[1] if len(values) > 1 else 0.0
    if not size > SHARED * scale or rest > SHARED * size:
        raise ValueError(f"target: its difference from W2 W1 has the singular values {values}: it must have rank one")
    w2 = np.linalg.norm(W2.T @ u)
    g = W2.T @ u / w2 if w2 > 0 else np.zeros(len(W1))
    w1 = g @ W1 @ v
    off = max(
        np.linalg.norm(W2 @ g - w2 * u) / np.linalg.norm(W2),
        np.linalg.norm(W1 @ v - w1 * g) / np.linalg.norm(W1),
        np.linalg.norm(W1.T @ g - w1 * v) / np.linalg.norm(W1),
    )
    if not (w1 > 0 and w2 > 0) or off > SHARED:
        raise ValueError(
            f"target: the direction of its difference has w1 = {w1}, w2 = {w2} and is off the layers' singular "
            f"directions by {off:.1e}: W2, W1 and the difference must share them"
        )
    return size, u, g, v


def _on(around, layers):
    """a1, b1, p1, a2, b2, p2 and e on the direction; x, y, s and t off it; the residuals in the row and the column."""
    h, n = layers.rest1.shape
    ends = np.cumsum([2, n, h, h, n])
    x, y, s, t = (around[start:end] for start, end in itertools.pairwise(ends))
    (a1, b1), (a2, b2) = (
        (a * np.cosh(angle), a * np.sinh(angle)) for a, angle in zip((layers.a1, layers.a2), around[:2], strict=True)
    )
    p1, p2 = a1 * b1, a2 * b2
    e = layers.delta - layers.w2 * p1 - layers.w1 * p2 - p1 * p2
    row = -(layers.w2 + p2) * b1 * x - b2 * (s @ layers.rest1)
    column = -a1 * (layers.rest2 @ y) - a2 * (layers.w1 + p1) * t
    return (a1, b1, p1, a2, b2, p2, e), (x, y, s, t), (row, column)


def _around(_, around, layers):
    (a1, b1, p1, a2, b2, p2, e), (_, y, s, _), (row, column) = _on(around, layers)
    return np.concatenate(
        [
            [(layers.w2 + p2) * e, (layers.w1 + p1) * e],
            (layers.w2 + p2) * b1 * row,
            a1 * (column @ layers.rest2 + b2 * e * s),
            b2 * (layers.rest1 @ row + a1 * e * y),
            (layers.w1 + p1) * a2 * column,
        ]
    )


def _read(around, layers, directions, begin, still):
    u, g, v = directions
    (_, b1, _, a2, b2, _, e), (x, y, s, t), (row, column) = _on(around, layers)
    block = np.outer(layers.rest2 @ y + a2 * b1 * t, x) + np.outer(t, s @ layers.rest1)
    size1, apart1 = _apart(g, v, b1, y, x, begin[0])
    size2, apart2 = _apart(u, g, b2, t, s, begin[1])
    loss = (e**2 + row @ row + column @ column + np.sum(block**2)) / 2
    return loss, apart1, apart2, np.sqrt(size1 + still[0]), np.sqrt(size2 + still[1])


def _apart(left, right, b, off_b, off_a, begin):
    """The square of [B; A'] on the growing direction of the rank, and 1 - cos of its angle to the given ones."""
    # |B q|^2 - |A' q|^2 is conserved: what A loses elsewhere, a - b gains, by too little to count but here
    a = np.sqrt(b**2 + off_b @ off_b - off_a @ off_a + begin)
    top = np.concatenate([b * left + off_b, a * right + off_a])
    size = top @ top
    return size, np.sum((top / np.sqrt(size) - np.concatenate([left, right]) / np.sqrt(2)) ** 2) / 2
