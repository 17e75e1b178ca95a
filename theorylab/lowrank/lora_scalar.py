"""The flow of two adapter pairs on one singular direction: two angles, their invariant, the end, and the phases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from ..numerics.checked import Numbers
from ..numerics.flow import check_times, integrate


class ScalarLora(NamedTuple):
    r"""The flow of two adapter pairs on one singular direction.

    **Arguments**: `a1`, `b1`, `a2`, `b2` and `loss` (times,), $\frac12(\delta - w_2p_1 - w_1p_2 - p_1p_2)^2$ with $p_i
    = a_ib_i$.

    **Source**: derived here; see `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> tl.lowrank.ScalarLora._fields
        ('a1', 'b1', 'a2', 'b2', 'loss')
    """

    a1: Float[Array, "*times"]
    b1: Float[Array, "*times"]
    a2: Float[Array, "*times"]
    b2: Float[Array, "*times"]
    loss: Float[Array, "*times"]


def scalar_lora_flow(
    delta: ScalarLike,
    w1: ScalarLike,
    w2: ScalarLike,
    a1: ScalarLike,
    a2: ScalarLike,
    ts: Numbers,
    *,
    rtol: ScalarLike = 1e-6,
    atol: ScalarLike = 1e-9,
) -> ScalarLora:
    r"""The flow of `two_layer_lora_flow` on one direction, from b = 0, in the two angles that are left of it.

    $a_k = \alpha_k\cosh\theta_k$ and $b_k = \alpha_k\sinh\theta_k$ solve the equations for $a_k$ and $b_k$ whatever
    the angles do, so that $\dot\theta_1 = (w_2 + p_2)e$, $\dot\theta_2 = (w_1 + p_1)e$ with $p_k =
    \frac12\alpha_k^2\sinh 2\theta_k$ and $e = \delta - w_2p_1 - w_1p_2 - p_1p_2$ is all. From a spectral start, each
    direction of a difference that shares the singular vectors of W2 W1 is such a flow.

    **Arguments**: `delta` > 0, (), the singular value of the difference; `w1` and `w2`, (), those of W1 and W2;
    `a1` and `a2`, (), the starts, of any sign; `ts` (times,), rising, the flow starting at 0; `rtol` and `atol`, ().
    The angles are in JAX's default precision. Differentiable forward.

    **Returns** `ScalarLora`; NaN from the first time that was not reached.

    **Raises** `ValueError` for times or tolerances out of range.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem 4.1; the angles are derived here. Checked against
    `two_layer_lora_flow` and `scalar_final_point`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> found = tl.lowrank.scalar_lora_flow(2.0, 1.0, 1.5, 0.1, 0.1, jnp.asarray([0.0, 9.0]), rtol=1e-5)
        >>> float(found.loss[0]), bool(found.loss[1] < 1e-6)
        (2.0, True)
    """
    values = tuple(jnp.asarray(one, float) for one in (delta, w1, w2, a1, a2))
    check_times(ts, rtol, atol, values[0].dtype)
    zero = jnp.zeros((), values[0].dtype)
    run = integrate(_angles, (zero, zero), jnp.asarray(ts), values, rtol=rtol, atol=atol)

    def read(y):
        (a1, b1), (a2, b2) = (
            (a * jnp.cosh(angle), a * jnp.sinh(angle)) for a, angle in zip(values[3:], y, strict=True)
        )
        gap = _scalar_gap(values[0], values[1], values[2], a1 * b1, a2 * b2)
        return ScalarLora(a1=a1, b1=b1, a2=a2, b2=b2, loss=gap**2 / 2)

    return jax.vmap(read)(run.y)


def _angles(y, args):
    (of_1, of_2), (delta, w1, w2, a1, a2) = y, args
    p1, p2 = a1**2 * jnp.sinh(2 * of_1) / 2, a2**2 * jnp.sinh(2 * of_2) / 2
    gap = _scalar_gap(delta, w1, w2, p1, p2)
    return (w2 + p2) * gap, (w1 + p1) * gap


def _scalar_gap(delta, w1, w2, p1, p2):
    return delta - w2 * p1 - w1 * p2 - p1 * p2


def scalar_invariant(
    w1: ArrayLike, w2: ArrayLike, a1: ArrayLike, a2: ArrayLike, b1: ArrayLike, b2: ArrayLike
) -> Float[np.ndarray, "*times"]:
    r"""What couples the two layers and never changes: $g(w_1, \alpha_1, \theta_1) - g(w_2, \alpha_2, \theta_2) = 0$.

    $g(w, \alpha, \theta) = w\theta + \frac{\alpha^2}{4}(\cosh 2\theta - 1)$ with $\sinh\theta_k = b_k/\alpha_k$.

    **Arguments**: `w1`, `w2`, (); the starts `a1` and `a2`, (), not 0; `b1` and `b2` (...), along the flow.

    **Returns** (...), float64, 0 to rounding on the exact flow from b = 0.

    **Raises** `ValueError` for a start of 0.

    **Source**: derived here by dividing the two equations of the angles; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> float(tl.lowrank.scalar_invariant(1.0, 1.0, 0.1, 0.1, 2.0, 2.0))
        0.0
    """
    for name, start in (("a1", a1), ("a2", a2)):
        if not np.all(start):
            raise ValueError(f"{name} = {start} must not be 0: the angles are of b/a")
    gap = _potential(w1, a1, np.asarray(b1, float) / a1) - _potential(w2, a2, np.asarray(b2, float) / a2)
    return np.asarray(gap)


def _potential(w, a, sinh):
    # (cosh 2x - 1) / 2 = sinh(x)^2
    return w * np.arcsinh(sinh) + (a * sinh) ** 2 / 2


def scalar_final_point(delta: float, w1: float, w2: float, a1: float, a2: float) -> tuple[float, float]:
    r"""Where `scalar_lora_flow` ends, $(p_1, p_2)$ with $w_2p_1 + w_1p_2 + p_1p_2 = \delta$, without an ODE.

    The invariant gives the second angle for each first one, both rising, and zero loss picks the first: one root
    inside another.

    **Arguments**: `delta` > 0, `w1` > 0, `w2` > 0; `a1` and `a2`, not 0.

    **Returns** $(p_1, p_2) = (a_1b_1, a_2b_2)$ at the end.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> p1, p2 = tl.lowrank.scalar_final_point(3.0, 1.0, 1.0, 0.1, 0.1)
        >>> abs(p1 - 1.0) < 1e-12 and abs(p2 - 1.0) < 1e-12
        True
    """
    _check_positive(delta=delta, w1=w1, w2=w2, a1=abs(a1), a2=abs(a2))

    def product(a, angle):
        return a**2 * np.sinh(2 * angle) / 2

    def partner(angle):
        level = _potential(w1, a1, np.sinh(angle))
        # g >= w x bounds the root above
        return _root(lambda other: _potential(w2, a2, np.sinh(other)) - level, level / w2 * (1 + 1e-9))

    def left(angle):
        return -_scalar_gap(delta, w1, w2, product(a1, angle), product(a2, partner(angle)))

    angle = _root(left, np.arcsinh(2 * delta / (w2 * a1**2)) / 2 * (1 + 1e-9))
    return float(product(a1, angle)), float(product(a2, partner(angle)))


def escape_time(delta: float, w1: float, w2: float, a1: float, a2: float, fraction: float = 0.01) -> float:
    r"""When the linear phase has explained a share of the difference: the end of the first plateau.

    The time t at which $w_2p_1 + w_1p_2 = f\delta$ for $p_1 = \frac12a_1^2\sinh(2\delta w_2t)$ and $p_2 =
    \frac12a_2^2\sinh(2\delta w_1t)$. As the starts go to zero it grows by $\log(1/\alpha)/(\delta\max(w_1, w_2))$; the
    true time is later by a relative O(f).

    **Arguments**: `delta` > 0, `w1` > 0 and `w2` > 0, singular values of the difference and of the layers on a
    direction; `a1` and `a2`, the components of the starts $\|A_1v\|$, $\|A_2g\|$, not both 0; `fraction` f in (0, 1).

    **Returns** the time.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here from the flow linearised at zero; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> early, late = (tl.lowrank.escape_time(2.0, 1.0, 2.0, a, a) for a in (1e-7, 1e-8))
        >>> round(4.0 * (late - early), 3)  # log(10)
        2.303
    """
    _check_positive(delta=delta, w1=w1, w2=w2, **{"a1 and a2": abs(a1) + abs(a2)})
    if not 0 < fraction < 1:
        raise ValueError(f"fraction = {fraction} must lie in (0, 1): the share of the difference that is explained")
    alone = [np.arcsinh(2 * fraction * delta / (w * a**2)) / (2 * delta * w) for w, a in ((w2, a1), (w1, a2)) if a]

    def left(t):
        explained = w2 * a1**2 * np.sinh(2 * delta * w2 * t) + w1 * a2**2 * np.sinh(2 * delta * w1 * t)
        return explained / (2 * fraction * delta) - 1

    # one layer alone takes longer; the margin is for rounding
    return _root(left, min(alone) * (1 + 1e-9))


class ClaimedPhases(NamedTuple):
    r"""The paper's bounds for one direction, in terms of $z_k = a_k^2 + b_k^2$.

    **Arguments**: `time` T1 of the first phase; `growth`, the least rate of log z1 in it; `separation`, the least rate
    of log(z1/z2); `decay`, the least rate of the loss after it.

    **Source**: Xu et al. (2025), arXiv 2503.06982; see `claimed_phases`.

        >>> import theorylab as tl
        >>> tl.lowrank.ClaimedPhases(1.0, 2.0, 3.0, 4.0).decay
        4.0
    """

    time: float
    growth: float
    separation: float
    decay: float


def claimed_phases(delta: float, w1: float, w2: float, a1: float) -> ClaimedPhases:
    r"""Theorem 4.1 for one direction of a spectral start: two phases, with rates.

    $T_1 = \frac{2}{(3 + \delta_w)\delta w_2}\log\frac{\delta}{16z_1(0)}$; up to it $\frac{d}{dt}\log z_1 \ge
    \frac{3 + \delta_w}{2}\delta w_2$ and $\frac{d}{dt}\log\frac{z_1}{z_2} \ge \frac{3(1 - \delta_w)}{2}\delta w_2$,
    after it the loss falls at least as $\exp(-\frac{1 - \delta_w}{8}\delta w_2t)$. The statement is reconstructed:
    $\delta_w = w_1/w_2$ as in the paper's Section 3 (the theorem prints its inverse), and from b = 0 the growth holds
    only from about $1/(\delta w_2)$ on, since z1 starts with zero slope.

    **Arguments**: `delta` > 0; `w1` > 0 and `w2` > w1, the layers' singular values (swap the layers if need be); `a1`,
    the start of the first layer, not 0.

    **Returns** `ClaimedPhases`.

    **Raises** `ValueError` for an argument out of range, w1 = w2 among them, where the bounds are void.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem 4.1 (reconstructed as said); a test holds the exact flow
    against it.

        >>> import theorylab as tl
        >>> found = tl.lowrank.claimed_phases(2.0, 1.0, 1.5, 1e-3)
        >>> round(found.growth, 6), round(found.time, 3)
        (5.5, 2.134)
    """
    _check_positive(delta=delta, a1=abs(a1))
    _check_order(w1, w2)
    ratio, rate = w1 / w2, delta * w2
    growth = (3 + ratio) / 2 * rate
    return ClaimedPhases(
        time=float(np.log(delta / (16 * a1**2)) / growth),
        growth=growth,
        separation=3 * (1 - ratio) / 2 * rate,
        decay=(1 - ratio) / 8 * rate,
    )


def claimed_alignment(w1: float, w2: float) -> tuple[float, float]:
    r"""Claim 3.2: how the alignment at the end of its phase depends on the scale $\alpha$ of a Gaussian start.

    $1 - \cos^2 \le c\,\alpha^{(1 + \delta_w)/(3 + \delta_w)}$ for the first layer and $\|Z_1\|^2/\|Z_2\|^2 \ge
    c\,\alpha^{-4(1 - \delta_w)/(5 - \delta_w)}$, $\delta_w = w_1/w_2$. Bounds: the flow does better, with
    a first power of $4 - 2\delta_w$ wherever it was measured (ratios 0.25, 0.5, 0.75 and 0.9, to within 0.06).

    **Arguments**: `w1` > 0 and `w2` > w1, the layers' singular values on the difference's direction.

    **Returns** the two powers, of $1 - \cos^2$ (at least) and of the quotient of the norms (at most, below 0).

    **Raises** `ValueError` for an argument out of range.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Claim 3.2, against which a test holds the flow.

        >>> import theorylab as tl
        >>> tl.lowrank.claimed_alignment(1.0, 2.0)
        (0.42857142857142855, -0.4444444444444444)
    """
    _check_order(w1, w2)
    ratio = w1 / w2
    return (1 + ratio) / (3 + ratio), -4 * (1 - ratio) / (5 - ratio)


def _check_order(w1, w2):
    _check_positive(w1=w1, w2=w2)
    if not w1 < w2:
        raise ValueError(f"w1 = {w1} must lie below w2 = {w2}: swap the layers; the bounds are void where they agree")


def _check_positive(**values):
    for name, value in values.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name} = {value} must be positive and finite")


def _root(fn, top):
    """Of a rising function, between 0 and where it is no longer negative, to rounding."""
    from scipy.optimize import brentq

    if top == 0:
        return 0.0
    return float(brentq(fn, 0.0, top, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=10_000))  # pyright: ignore[reportArgumentType]
