"""The gradient flow of low-rank adapters: one pair beside a frozen matrix, and one pair on each of two layers."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, ScalarLike

from ...numerics.arrays import floating
from ...numerics.checked import Numbers
from ...numerics.flow import check_times, integrate
from ..problems import check_rank

REDUCTIONS = ("auto", "never")
Four = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""`Adapters`, or a tuple like it."""


class Adapters(NamedTuple):
    """The adapters of two layers, W1 + B1 A1 and W2 + B2 A2.

    **Arguments**: `A1` (rank, n), `B1` (h, rank), `A2` (rank, h), `B2` (m, rank), of one floating dtype; with a
    leading axis of times in a solution.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Section 2.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.lowrank.lora.Adapters(jnp.ones((1, 2)), jnp.zeros((3, 1)), jnp.ones((1, 3)), jnp.zeros((2, 1))).B2.shape
        (2, 1)
    """

    A1: Float[Array, "*times rank n"]
    B1: Float[Array, "*times h rank"]
    A2: Float[Array, "*times rank h"]
    B2: Float[Array, "*times m rank"]


class LoraSolution(eqx.Module):
    """What `lora_flow` returns."""

    A: Float[Array, "*lanes times rank n"]
    B: Float[Array, "*lanes times m rank"]
    loss: Float[Array, "*lanes times"]
    reached: Bool[Array, "*lanes times"]
    steps: Int[Array, "*lanes"]
    residual: Float[Array, "*lanes"]


class TwoLayerLoraSolution(eqx.Module):
    """What `two_layer_lora_flow` returns."""

    adapters: Adapters
    loss: Float[Array, "*lanes times"]
    reached: Bool[Array, "*lanes times"]
    steps: Int[Array, "*lanes"]


def lora_flow(
    difference: Numbers,
    A0: ArrayLike,
    B0: ArrayLike,
    ts: Numbers,
    *,
    rtol: ScalarLike = 1e-6,
    atol: ScalarLike = 1e-9,
    reduce: str = "auto",
) -> LoraSolution:
    r"""Integrate the gradient flow of $\frac12\|D - BA\|_F^2$: adapters B A beside a frozen W0 whose target is W0 + D.

    $\dot A = B^T D - (B^T B) A$ and $\dot B = D A^T - B (A A^T)$, so that no step forms the residual D - BA. The
    columns of B stay in the span of those of D and B0, the rows of A in that of those of D and A0: where D has low
    rank, the flow of the coordinates in orthonormal bases of both spans is the same flow, and it is what is integrated.
    Low rank is looked for in a random sketch and accepted where what the sketch leaves out is rounding (100 eps |D|).

    **Arguments**: `difference` D (m, n), or its factors (L (m, q), R (n, q)) with D = L R', whose product is never
    formed; `A0` (rank, n); `B0` (m, rank), all of one floating dtype; `ts` (times,), rising, the flow starting at 0;
    `rtol` >= 4 eps and `atol` >= 0, (); `reduce`, `"auto"`, or `"never"` to use a matrix D as it is. Under a JAX
    transformation of D its rank is not looked for. Differentiable forward, not in reverse; under `vmap` each lane has
    its own steps.

    **Returns** `A` (times, rank, n), `B` (times, m, rank) and `loss` (times,), $\frac12\|D - BA\|_F^2$, NaN from the
    first time that was not reached (a flow that left the floating range, or a tolerance below rounding); `reached`
    (times,), bool; `steps` (), int32, the steps tried; `residual` (), how far in the Frobenius norm the low-rank form
    that was integrated is from D, 0 where D was used as given.

    **Raises** `ValueError` for shapes or dtypes that do not fit, a rank above min(m, n), entries that are not finite,
    and times or tolerances out of range.

    **Source**: derived here; the flow is that of Xu et al. (2025), arXiv 2503.06982, for one layer. Checked against
    SciPy, against the flow in full and against closed forms.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> D = jnp.outer(jnp.ones(40), jnp.ones(40)) / 40
        >>> A0, B0, ts = 0.1 * jnp.eye(2, 40), jnp.zeros((40, 2)), jnp.asarray([0.0, 9.0])
        >>> found = tl.lowrank.lora_flow(D, A0, B0, ts, rtol=1e-5)
        >>> bool(found.loss[0] > 0.49), bool(found.loss[1] < 1e-5)
        (True, True)
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce = {reduce!r} is not one of {', '.join(map(repr, REDUCTIONS))}")
    if isinstance(difference, tuple | list) and len(difference) == 2 and np.ndim(difference[0]) == 2:
        given = tuple(map(floating, difference))
    else:
        given = (floating(difference),)
    factored = len(given) == 2
    A0, B0 = floating(A0), floating(B0)
    _check_pair(given, A0, B0)
    check_times(ts, rtol, atol, A0.dtype)
    residual = np.zeros(())
    if reduce == "auto" and not factored and not isinstance(given[0], Tracer):
        found = low_rank_factors(np.asarray(given[0]))
        if found is not None:
            *given, residual = found
    # from B0 = 0 the columns of B never leave those of D
    still = not isinstance(B0, Tracer) and not np.any(np.asarray(B0))
    with jax.default_matmul_precision("highest"):
        return _solve(
            tuple(map(jnp.asarray, given)), A0, B0, jnp.asarray(ts), rtol, atol, jnp.asarray(residual, A0.dtype), still
        )


def two_layer_lora_flow(
    W1: ArrayLike,
    W2: ArrayLike,
    target: ArrayLike,
    adapters: Four,
    ts: Numbers,
    *,
    rtol: ScalarLike = 1e-6,
    atol: ScalarLike = 1e-9,
) -> TwoLayerLoraSolution:
    r"""Integrate the gradient flow of $\frac12\|Y - (W_2 + B_2A_2)(W_1 + B_1A_1)\|_F^2$ in the four adapters.

    With $P_i = W_i + B_iA_i$ and $E = Y - P_2P_1$: $\dot B_1 = P_2^TEA_1^T$, $\dot A_1 = B_1^TP_2^TE$, $\dot B_2 =
    EP_1^TA_2^T$, $\dot A_2 = B_2^TEP_1^T$, each by products with thin matrices alone. It conserves $B_i^TB_i -
    A_iA_i^T$.

    **Arguments**: `W1` (h, n) and `W2` (m, h), frozen; `target` Y (m, n); `adapters`, `Adapters` or a tuple (A1, B1,
    A2, B2) in this order; all of one floating dtype; `ts` (times,), rising, the flow starting at 0; `rtol` >= 4 eps
    and `atol` >= 0, (). Differentiable forward, not in reverse; under `vmap` each lane has its own steps.

    **Returns** `adapters`, with a leading axis of times, and `loss` (times,), both NaN from the first time that was not
    reached; `reached` (times,), bool; `steps` (), int32, the steps tried.

    **Raises** `ValueError` for shapes or dtypes that do not fit, a rank above the dimensions, entries that are not
    finite, and times or tolerances out of range.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Section 2, checked against its invariants and its scalar reduction.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> W1, W2, target = jnp.eye(2), 2 * jnp.eye(2), jnp.diag(jnp.asarray([4.0, 2.0]))
        >>> start = tl.lowrank.spectral_init(W1, W2, target, 1, 0.1)
        >>> bool(tl.lowrank.two_layer_lora_flow(W1, W2, target, start, jnp.asarray([9.0])).loss[0] < 1e-6)
        True
    """
    W1, W2, target = map(floating, (W1, W2, target))
    adapters = Adapters(*map(floating, adapters))
    _check_layers(W1, W2, target)
    check_adapters(W1, W2, adapters)
    check_times(ts, rtol, atol, W1.dtype)
    with jax.default_matmul_precision("highest"):
        return _solve_layers(W1, W2, target, adapters, jnp.asarray(ts), rtol, atol)


def spectral_init(W1: ArrayLike, W2: ArrayLike, target: ArrayLike, rank: int, scale: ArrayLike) -> Adapters:
    r"""Make adapters with B = 0 and the rows of A along what full fine-tuning would move first.

    The rows of A1 are the top right singular vectors of $W_2^T\Delta$ and those of A2 of $\Delta W_1^T$, $\Delta = Y -
    W_2W_1$, which are the negative gradients of the two layers, times the scale.

    **Arguments**: `W1` (h, n), `W2` (m, h) and `target` Y (m, n), of one floating dtype; `rank`, from 1 to the least
    of m, h, n; `scale`, () or (rank,), the lengths of the rows: draws of N(0, alpha^2) for the paper's start.

    **Returns** `Adapters`.

    **Raises** `ValueError` for shapes or dtypes that do not fit, a rank above the dimensions, and a zero gradient.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Section 4, where the singular vectors of W1, W2 and Delta agree;
    the form by the gradients is derived here, needs no such assumption and coincides with it there.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> start = tl.lowrank.spectral_init(jnp.eye(2), jnp.eye(2), jnp.diag(jnp.asarray([1.0, 4.0])), 1, 0.5)
        >>> jnp.abs(start.A1).tolist(), start.B2.shape
        ([[0.0, 0.5]], (2, 1))
    """
    W1, W2, target = map(floating, (W1, W2, target))
    _check_layers(W1, W2, target)
    (h, n), m = W1.shape, W2.shape[0]
    check_rank("rank", rank, (h, n))
    check_rank("rank", rank, (m, h))
    with jax.default_matmul_precision("highest"):
        gap = target - W2 @ W1
        (A1, B1), (A2, B2) = (spectral_pair(g, rank, scale, "target") for g in (W2.T @ gap, gap @ W1.T))
    return Adapters(A1, B1, A2, B2)


def spectral_pair(gradient: Array, rank: int, scale: ArrayLike, name: str) -> tuple[Array, Array]:
    """Make A (rank, n), the top right singular vectors of a gradient (m, n) times the scale, and B (m, rank) zero."""
    if not isinstance(gradient, Tracer):
        if not np.all(np.isfinite(gradient)):
            raise ValueError(f"{name}: the gradient is not finite: remove or repair the entries that make it so")
        if not np.any(np.asarray(gradient)):
            raise ValueError(
                f"{name}: the gradient is zero, so that it has no directions to start along: use another start, or none"
            )
    if np.shape(scale) not in ((), (rank,)):
        raise ValueError(f"scale has the shape {np.shape(scale)}: pass one number, or one for each of {rank} rows")
    # half precision has no singular value decomposition
    wide = gradient.astype(jnp.float32) if gradient.dtype.itemsize < 4 else gradient
    rows = jnp.linalg.svd(wide, full_matrices=False)[2][..., :rank, :].astype(gradient.dtype)
    lengths = jnp.broadcast_to(jnp.asarray(scale, gradient.dtype), (rank,))[:, None]
    return rows * jnp.broadcast_to(lengths, rows.shape), jnp.zeros((*gradient.shape[:-1], rank), gradient.dtype)


def low_rank_factors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.floating] | None:
    """Find L, R and |D - L R'| where D has a rank of at most a quarter of its sides, to rounding; None elsewhere.

    The singular values of a part of D lie below those of D: as many above the tolerance, so large is the rank at least.
    Then Halko, Martinsson, Tropp (2011): the range of D times a Gaussian block a little wider than that.
    """
    eps, tolerance = np.finfo(matrix.dtype).eps, 100 * np.finfo(matrix.dtype).eps * np.linalg.norm(matrix)
    limit = min(matrix.shape) // 4
    draws = np.random.default_rng(0)
    rows, columns = (draws.permutation(side) for side in matrix.shape)
    part = min(32, limit)
    while part:
        corner = matrix[np.ix_(rows[: part + 1], columns[: part + 1])]
        least = int(np.sum(np.linalg.svd(corner, compute_uv=False) > tolerance))
        if least <= part:
            width = min(least + 8, limit)
            Q = np.linalg.qr(matrix @ draws.standard_normal((len(columns), width)).astype(matrix.dtype))[0]
            P, T = np.linalg.qr(matrix.T @ Q)
            left, values, right = np.linalg.svd(T.T)
            keep = max(1, int(np.sum(values > 10 * eps * values[0])))
            L, R = Q @ (left[:, :keep] * values[:keep]), P @ right[:keep].T
            residual = np.linalg.norm(matrix - L @ R.T)
            if residual <= tolerance:
                return L, R, residual
        part = min(2 * part, limit) if part < limit else 0
    return None


@partial(jax.jit, static_argnames="still")
def _solve(given, A0, B0, ts, rtol, atol, residual, still):
    if len(given) == 1:
        (D,) = given
        A, B, run = _flow(D, A0, B0, ts, rtol, atol)
        # rows in blocks, one time after the other, so that no copy of D is made
        loss = lax.map(lambda pair: _half_square(D, *pair), (A, B))
        return LoraSolution(A, B, loss, run.reached, run.steps, residual)
    L, R = given
    Q, _ = jnp.linalg.qr(L if still else jnp.concatenate([L, B0], 1))
    P, _ = jnp.linalg.qr(jnp.concatenate([R, A0.T], 1))
    D = (Q.T @ L) @ (R.T @ P)
    A, B, run = _flow(D, A0 @ P, Q.T @ B0, ts, rtol, atol)
    # what the reduction leaves out is orthogonal to what it keeps
    loss = jnp.sum((D[None] - B @ A) ** 2, (1, 2)) / 2 + residual**2 / 2
    return LoraSolution(A @ P.T, Q @ B, loss, run.reached, run.steps, residual)


def _flow(D, A0, B0, ts, rtol, atol):
    # both factors tall, and D with its transpose at hand: the layout that XLA's CPU products like best (2.9 times as
    # fast as by the residual)
    run = integrate(_pair_field, (A0.T, B0), ts, (D, D.T), rtol=rtol, atol=atol)
    return run.y[0].mT, run.y[1], run


def _pair_field(y, args):
    (C, B), (D, transposed) = y, args
    return transposed @ B - C @ (B.T @ B), D @ C - B @ (C.T @ C)


def _half_square(D, A, B):
    return jnp.sum(lax.map(lambda row: jnp.sum((row[0] - row[1] @ A) ** 2), (D, B), batch_size=64)) / 2


@jax.jit
def _solve_layers(W1, W2, target, adapters, ts, rtol, atol):
    run = integrate(_layers_field, adapters, ts, (W1, W2, target), rtol=rtol, atol=atol)

    def loss(at):
        A1, B1, A2, B2 = at
        return jnp.sum((target - (W2 + B2 @ A2) @ (W1 + B1 @ A1)) ** 2) / 2

    return TwoLayerLoraSolution(run.y, lax.map(loss, run.y), run.reached, run.steps)


def _layers_field(adapters, args):
    (A1, B1, A2, B2), (W1, W2, target) = adapters, args

    def plus(W, B, A, X):
        return W @ X + B @ (A @ X)

    (r1, _), (_, r2) = A1.shape, B2.shape
    # E and E' once each, on the columns of both layers
    X = jnp.concatenate([A1.T, plus(W1.T, A1.T, B1.T, A2.T)], 1)
    Y = jnp.concatenate([B2, plus(W2, B2, A2, B1)], 1)
    forward = target @ X - plus(W2, B2, A2, plus(W1, B1, A1, X))
    backward = target.T @ Y - plus(W1.T, A1.T, B1.T, plus(W2.T, A2.T, B2.T, Y))
    return Adapters(
        A1=backward[:, r2:].T,
        B1=plus(W2.T, A2.T, B2.T, forward[:, :r1]),
        A2=plus(W1, B1, A1, backward[:, :r2]).T,
        B2=forward[:, r1:],
    )


def _check_shape(name, values, shape, meaning):
    if values.shape != shape:
        raise ValueError(f"{name} has the shape {values.shape}: pass {shape}, {meaning}")
    if not isinstance(values, Tracer) and not np.all(np.isfinite(values)):
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"{name}{list(where)} = {values[where]} is not finite: remove or repair that entry")


def _check_dtypes(**arrays):
    kinds = {name: str(array.dtype) for name, array in arrays.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            f"dtypes differ: {', '.join(f'{name} {kind}' for name, kind in kinds.items())}; give one to all"
        )


def _check_pair(given, A0, B0):
    for values in (*given, A0, B0):
        if values.ndim != 2:
            raise ValueError(
                f"difference, A0 and B0 are matrices, and one has the shape {values.shape}: pass (m, n), "
                "or factors (m, q) and (n, q), with (rank, n) and (m, rank)"
            )
    m, n = (given[0].shape[0], given[-1].shape[0]) if len(given) == 2 else given[0].shape
    for values in given:
        _check_shape("difference", values, (values.shape[0], given[0].shape[1]), "both factors of one width")
    rank = A0.shape[0]
    _check_shape("A0", A0, (rank, n), f"(rank, n) for a difference of shape ({m}, {n})")
    _check_shape("B0", B0, (m, rank), f"(m, rank) for a difference of shape ({m}, {n}) and rank {rank}")
    check_rank("rank", rank, (m, n))
    _check_dtypes(difference=given[0], factor=given[-1], A0=A0, B0=B0)


def _check_layers(W1, W2, target):
    for name, values in (("W1", W1), ("W2", W2)):
        if values.ndim != 2:
            raise ValueError(f"{name} has the shape {values.shape}: pass W1 (h, n) and W2 (m, h)")
    h, n = W1.shape
    m = W2.shape[0]
    _check_shape("W1", W1, (h, n), "(h, n)")
    _check_shape("W2", W2, (m, h), f"(m, h), for W1 of shape {W1.shape}")
    _check_shape("target", target, (m, n), "(m, n), the shape of W2 W1")
    _check_dtypes(W1=W1, W2=W2, target=target)


def check_adapters(W1, W2, adapters):
    adapters = Adapters(*adapters)
    (h, n), m = W1.shape, W2.shape[0]
    for name, values in zip(Adapters._fields, adapters, strict=True):
        if values.ndim != 2:
            raise ValueError(
                f"adapters.{name} has the shape {values.shape}: pass a matrix, in the order A1, B1, A2, B2"
            )
    ranks = adapters.A1.shape[0], adapters.A2.shape[0]
    shapes = (ranks[0], n), (h, ranks[0]), (ranks[1], h), (m, ranks[1])
    for name, values, shape in zip(Adapters._fields, adapters, shapes, strict=True):
        _check_shape(f"adapters.{name}", values, shape, "in the order A1, B1, A2, B2")
    check_rank("rank", ranks[0], (h, n))
    check_rank("rank", ranks[1], (m, h))
    _check_dtypes(W1=W1, **adapters._asdict())
