"""What the gradient flow of low-rank adapters does: growth, alignment, and the final error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ...numerics.checked import Numbers, finite
from ...numerics.estimate import Estimate
from ...numerics.slopes import loglog_slope
from .flow import Adapters, Four, two_layer_lora_flow


class GrowthRates(NamedTuple):
    """What `growth_rates` returns."""

    layer1: Float[np.ndarray, " k"]
    layer2: Float[np.ndarray, " k"]


def growth_rates(W1: Real[ArrayLike, "h n"], W2: Real[ArrayLike, "m h"], target: Real[ArrayLike, "m n"]) -> GrowthRates:
    r"""Compute how fast adapters grow: $[B_1; A_1^T]$ as $e^{\lambda t}$, $\lambda$ a singular value of $W_2^T\Delta$.

    With $\Delta = Y - W_2W_1$ the second layer has those of $\Delta W_1^T$. Where Delta = sigma u v' on singular
    directions of W1 and W2 they are $\sigma\sigma_{W2}$ and $\sigma\sigma_{W1}$, and the quotient of the second by the
    first is the paper's $\delta_w$. Along each direction the norms squared grow at twice the rate.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n).

    **Returns** the exponential rates `layer1` (k,) and `layer2` (k,), falling, in 1/time, float64.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Claim 3.1; for any Delta derived here from the flow linearised at
    zero, and checked against `two_layer_lora_flow`.

        >>> import numpy as np, theorylab as tl
        >>> found = tl.lowrank.lora.growth_rates(np.eye(2), 2 * np.eye(2), np.diag([5.0, 2.0]))
        >>> found.layer1.tolist(), found.layer2.tolist()
        ([6.0, 0.0], [3.0, 0.0])
    """
    return GrowthRates(*(np.linalg.svd(g, compute_uv=False) for g in _negative_gradients(W1, W2, target)))


def linear_phase(
    W1: Real[ArrayLike, "h n"],
    W2: Real[ArrayLike, "m h"],
    target: Real[ArrayLike, "m n"],
    adapters: Four,
    ts: Numbers,
) -> Adapters:
    r"""Solve the flow linearised at zero adapters, $Z_i(t) = e^{tS_i}Z_i(0)$, exact while $\|B_iA_i\|$ is small.

    $Z_1 = [B_1; A_1^T]$, $S_1 = [[0, G_1], [G_1^T, 0]]$ with $G_1 = W_2^T\Delta$ and $G_2 = \Delta W_1^T$: a cosh and
    a sinh of each singular value, and nothing moves outside of their directions. What it leaves out is of the order of
    the adapters cubed.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n); `adapters` (A1, B1, A2, B2); `ts` (times,).

    **Returns** `Adapters` with a leading axis of times, float64.

    **Raises** `ValueError` for times that are no row.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Claim 3.1 in the form for any Delta; checked against
    `two_layer_lora_flow`.

        >>> import numpy as np, theorylab as tl
        >>> a, zero = np.asarray([[1e-3]]), np.zeros((1, 1))
        >>> found = tl.lowrank.lora.linear_phase(1 + zero, 1 + zero, 2 + zero, (a, zero, a, zero), np.ones(1))
        >>> bool(np.allclose(found.B1, 1e-3 * np.sinh(1.0)))
        True
    """
    times = np.asarray(ts, float)
    if times.ndim != 1:
        raise ValueError(f"ts has the shape {times.shape}: pass a row of times, [ts] for a single one")
    times = times[:, None, None]
    found = []
    A1, B1, A2, B2 = (np.asarray(one, float) for one in adapters)
    for gradient, A, B in zip(_negative_gradients(W1, W2, target), (A1, A2), (B1, B2), strict=True):
        left, rates, right = np.linalg.svd(gradient, full_matrices=False)
        out, along = left.T @ B, right @ A.T
        grown, mixed = np.cosh(times * rates[:, None]) - 1, np.sinh(times * rates[:, None])
        found += [
            A + np.swapaxes(right.T @ (grown * along + mixed * out), 1, 2),
            B + left @ (grown * out + mixed * along),
        ]
    return Adapters(*found)


def adapter_invariant(
    A: Real[ArrayLike, "*times rank n"], B: Real[ArrayLike, "*times m rank"]
) -> Float[np.ndarray, "*times rank rank"]:
    r"""Compute $B^TB - AA^T$, which the gradient flow of any loss of BA conserves; $-A_0A_0^T$ from a start with B = 0.

    **Arguments**: `A` (..., rank, n) and `B` (..., m, rank).

    **Returns** (..., rank, rank), float64.

    **Source**: Xu et al. (2025), arXiv 2503.06982; checked against both flows.

        >>> import numpy as np, theorylab as tl
        >>> tl.lowrank.lora.adapter_invariant(np.ones((1, 3)), 2 * np.ones((2, 1))).tolist()
        [[5.0]]
    """
    A, B = np.asarray(A, float), np.asarray(B, float)
    return np.swapaxes(B, -1, -2) @ B - A @ np.swapaxes(A, -1, -2)


def misalignment(
    A: Real[ArrayLike, "*times rank n"],
    B: Real[ArrayLike, "*times m rank"],
    left: Real[ArrayLike, " m *k"],
    right: Real[ArrayLike, " n *k"],
) -> Float[np.ndarray, "*times"]:
    r"""Measure how far the adapters point from given directions: 0 for the same space, 1 for orthogonal ones.

    Compares the top left singular vectors U of $[B; A^T]$ with the orthonormalised $T = [L; R]$. For one direction $1
    - |\langle U, T\rangle|$, as $\frac12\|U \mp T\|^2$, which keeps its digits near 0; for k of them $\|UU^T -
    TT^T\|_F/\sqrt{2k}$.

    **Arguments**: `A` (..., rank, n) and `B` (..., m, rank); `left` L (m,) or (m, k) and `right` R (n,) or (n, k), the
    singular vectors that belong together: of $-\partial\ell/\partial W$ at the start for what the linear phase aligns
    with.

    **Returns** (...), float64, in [0, 1].

    **Source**: Xu et al. (2025), arXiv 2503.06982, Claim 3.2 for one direction and the experiments for k (which take
    the gradient itself, hence the other sign of one side).

        >>> import numpy as np, theorylab as tl
        >>> float(tl.lowrank.lora.misalignment(np.eye(1, 2), np.eye(2, 1), np.eye(2)[0], np.eye(2)[0]))
        0.0
    """
    Z = np.concatenate([np.asarray(B, float), np.swapaxes(np.asarray(A, float), -1, -2)], axis=-2)
    joined = np.concatenate([np.asarray(left, float), np.asarray(right, float)], axis=0)
    T, _ = np.linalg.qr(joined.reshape(len(joined), -1))
    k = T.shape[1]
    finite(A=A, B=B)
    U = np.linalg.svd(Z, full_matrices=False)[0][..., :k]
    if k == 1:
        sign = np.where(np.sum(U * T, axis=-2, keepdims=True) < 0, -1.0, 1.0)
        return np.asarray(np.sum((U - sign * T) ** 2, axis=(-2, -1)) / 2)
    # |U U' - T T'|^2 = 2 |U - T T' U|^2 for spaces of one dimension
    return np.asarray(np.linalg.norm(U - T @ (T.T @ U), axis=(-2, -1)) / np.sqrt(k))


def fine_tuning_misalignment(
    W1: Real[ArrayLike, "h n"], W2: Real[ArrayLike, "m h"], target: Real[ArrayLike, "m n"]
) -> float:
    r"""Measure the share of Delta = Y - W2 W1 off the diagonal in the singular bases of $W_2W_1$: 0 where they agree.

    The scalar reduction holds at 0. Where singular values of W2 W1 are equal their basis is not unique and the share
    depends on the one that the decomposition picks.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n).

    **Returns** a number in [0, 1]; 0 where Delta is 0.

    **Source**: derived here, for Assumption 2.2 of Xu et al. (2025), arXiv 2503.06982.

        >>> import numpy as np, theorylab as tl
        >>> tl.lowrank.lora.fine_tuning_misalignment(np.eye(2), np.diag([2.0, 1.0]), np.diag([5.0, 1.0]))
        0.0
    """
    W1, W2, target = (np.asarray(one, float) for one in (W1, W2, target))
    finite(W1=W1, W2=W2, target=target)
    left, _, right = np.linalg.svd(W2 @ W1)
    turned = left.T @ (target - W2 @ W1) @ right.T
    size = np.linalg.norm(turned)
    np.fill_diagonal(turned, 0.0)
    return float(np.linalg.norm(turned) / size) if size > 0 else 0.0


def loss_rate(
    W1: Real[ArrayLike, "h n"], W2: Real[ArrayLike, "m h"], target: Real[ArrayLike, "m n"], adapters: Four
) -> float:
    r"""Compute $dL/dt = -\|\nabla L\|^2$ along the flow, the sum over the four adapters.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n); `adapters` (A1, B1, A2, B2).

    **Returns** a number <= 0.

    **Source**: derived here, checked against differences of the loss along `two_layer_lora_flow`.

        >>> import numpy as np, theorylab as tl
        >>> one, zero = np.ones((1, 1)), np.zeros((1, 1))
        >>> tl.lowrank.lora.loss_rate(one, one, 3 * one, (one, zero, one, zero))
        -8.0
    """
    W1, W2, target = (np.asarray(one, float) for one in (W1, W2, target))
    A1, B1, A2, B2 = (np.asarray(one, float) for one in adapters)
    P1, P2 = W1 + B1 @ A1, W2 + B2 @ A2
    of_1, of_2 = P2.T @ (target - P2 @ P1), (target - P2 @ P1) @ P1.T
    return -float(sum(np.sum(g**2) for g in (of_1 @ A1.T, B1.T @ of_1, of_2 @ A2.T, B2.T @ of_2)))


class FinalLosses(NamedTuple):
    """What `final_losses` returns."""

    losses: Float[np.ndarray, " scales"]
    exponent: Estimate


def final_losses(
    W1: ArrayLike,
    W2: ArrayLike,
    target: ArrayLike,
    adapters: Four,
    scales: Numbers,
    time: float,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-14,
) -> FinalLosses:
    r"""Compute the loss that adapters reach from starts of several scales, all of them at once.

    A Gaussian start ends in a plateau whose height is a power of the scale (between 4 and 5 for differences of rank one
    on which the layers' singular values are in a ratio from 0.75 to 0.9); a spectral one goes on to rounding.

    **Arguments**: `W1` (h, n), `W2` (m, h), `target` Y (m, n); `adapters` (A1, B1, A2, B2), the start at scale 1;
    `scales` (scales,) > 0; `time`, when the loss is read; `rtol` and `atol` of the flow, with atol below the loss's
    square root over the scale.

    **Returns** the `losses` (scales,), and the `exponent` of the scale by which they go, an `Estimate`.

    **Raises** `ValueError` for scales that are not positive, and as `two_layer_lora_flow` does.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem 3.1, which has a power that it does not name.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> one = jnp.ones((1, 1))
        >>> adapters, scales = (one, 0 * one, one, 0 * one), jnp.asarray([0.1, 0.2, 0.4])
        >>> found = tl.lowrank.lora.final_losses(one, one, 2 * one, adapters, scales, 0.0, rtol=1e-5)
        >>> found.losses.tolist()
        [0.5, 0.5, 0.5]
    """
    scales = np.asarray(scales, float)
    if scales.ndim != 1 or scales.size == 0 or not np.all((scales > 0) & (scales < np.inf)):
        raise ValueError(f"scales = {scales} must be a row of positive, finite numbers")
    if not 0 <= time < np.inf:
        raise ValueError(f"time = {time} must be finite and >= 0, where the flow starts")
    start = Adapters(*map(jnp.asarray, adapters))
    at = jnp.asarray([time], start.A1.dtype)

    def one(scale):
        scaled = jax.tree.map(lambda leaf: scale * leaf, start)
        return two_layer_lora_flow(W1, W2, target, scaled, at, rtol=rtol, atol=atol).loss[0]

    losses = np.asarray(jax.vmap(one)(jnp.asarray(scales, start.A1.dtype)), float)
    exponent = loglog_slope(scales, losses) if np.unique(scales).size > 1 else Estimate(np.nan, np.nan)
    return FinalLosses(losses, exponent)


def _negative_gradients(W1, W2, target):
    W1, W2, target = (np.asarray(one, float) for one in (W1, W2, target))
    finite(W1=W1, W2=W2, target=target)
    gap = target - W2 @ W1
    return W2.T @ gap, gap @ W1.T
