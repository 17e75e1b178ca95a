"""The flow of two adapter pairs on one singular direction: two angles, their invariant, the end, and the phases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from ...numerics.checked import Numbers
from ...numerics.flow import check_times, integrate


class ScalarLora(NamedTuple):
    """What `scalar_lora_flow` returns."""

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
    r"""Integrate `two_layer_lora_flow` on one direction, from b = 0, in the two angles that are left of it.

    $a_k = \alpha_k\cosh\theta_k$ and $b_k = \alpha_k\sinh\theta_k$ solve the equations for $a_k$ and $b_k$ whatever
    the angles do, so that $\dot\theta_1 = (w_2 + p_2)e$, $\dot\theta_2 = (w_1 + p_1)e$ with $p_k =
    \frac12\alpha_k^2\sinh 2\theta_k$ and $e = \delta - w_2p_1 - w_1p_2 - p_1p_2$ is all. From a spectral start, each
    direction of a difference that shares the singular vectors of W2 W1 is such a flow.

    **Arguments**: `delta` > 0, (), the singular value of the difference; `w1` and `w2`, (), those of W1 and W2;
    `a1` and `a2`, (), the starts, of any sign; `ts` (times,), rising, the flow starting at 0; `rtol` and `atol`, ().
    The angles are in JAX's default precision. Differentiable forward.

    **Returns** `a1`, `b1`, `a2`, `b2` and `loss` (times,), $\frac12e^2$; NaN from the first time that was not reached.

    **Raises** `ValueError` for times or tolerances out of range.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem 4.1; the angles are derived here. Checked against
    `two_layer_lora_flow` and `scalar_final_point`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> found = tl.lowrank.lora.scalar_lora_flow(2.0, 1.0, 1.5, 0.1, 0.1, jnp.asarray([0.0, 9.0]), rtol=1e-5)
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
    r"""Compute what couples the layers and never moves: $g(w_1, \alpha_1, \theta_1) - g(w_2, \alpha_2, \theta_2) = 0$.

    $g(w, \alpha, \theta) = w\theta + \frac{\alpha^2}{4}(\cosh 2\theta - 1)$ with $\sinh\theta_k = b_k/\alpha_k$.

    **Arguments**: `w1`, `w2`, (); the starts `a1` and `a2`, (), not 0; `b1` and `b2` (...), along the flow.

    **Returns** (...), float64, 0 to rounding on the exact flow from b = 0.

    **Raises** `ValueError` for a start of 0.

    **Source**: derived here by dividing the two equations of the angles; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> float(tl.lowrank.lora.scalar_invariant(1.0, 1.0, 0.1, 0.1, 2.0, 2.0))
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
    r"""Find where `scalar_lora_flow` ends, $(p_1, p_2)$ with $w_2p_1 + w_1p_2 + p_1p_2 = \delta$, without an ODE.

    The invariant gives the second angle for each first one, both rising, and zero loss picks the first: one root
    inside another.

    **Arguments**: `delta` > 0, `w1` > 0, `w2` > 0; `a1` and `a2`, not 0.

    **Returns** $(p_1, p_2) = (a_1b_1, a_2b_2)$ at the end.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> p1, p2 = tl.lowrank.lora.scalar_final_point(3.0, 1.0, 1.0, 0.1, 0.1)
        >>> abs(p1 - 1.0) < 1e-12 and abs(p2 - 1.0) < 1e-12
        True
    """
    check_positive(delta=delta, w1=w1, w2=w2, a1=abs(a1), a2=abs(a2))

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
    r"""Find when the linear phase has explained a share of the difference: the end of the first plateau.

    The time t at which $w_2p_1 + w_1p_2 = f\delta$ for $p_1 = \frac12a_1^2\sinh(2\delta w_2t)$ and $p_2 =
    \frac12a_2^2\sinh(2\delta w_1t)$. As the starts go to zero it grows by $\log(1/\alpha)/(\delta\max(w_1, w_2))$; the
    true time is later by a relative O(f).

    **Arguments**: `delta` > 0, `w1` > 0 and `w2` > 0, singular values of the difference and of the layers on a
    direction; `a1` and `a2`, the components of the starts $\|A_1v\|$, $\|A_2g\|$, not both 0; `fraction` f in (0, 1).

    **Returns** the time.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here from the flow linearised at zero; checked against `scalar_lora_flow`.

        >>> import theorylab as tl
        >>> early, late = (tl.lowrank.lora.escape_time(2.0, 1.0, 2.0, a, a) for a in (1e-7, 1e-8))
        >>> round(4.0 * (late - early), 3)  # log(10)
        2.303
    """
    check_positive(delta=delta, w1=w1, w2=w2, **{"a1 and a2": abs(a1) + abs(a2)})
    if not 0 < fraction < 1:
        raise ValueError(f"fraction = {fraction} must lie in (0, 1): the share of the difference that is explained")
    alone = [np.arcsinh(2 * fraction * delta / (w * a**2)) / (2 * delta * w) for w, a in ((w2, a1), (w1, a2)) if a]

    def left(t):
        explained = w2 * a1**2 * np.sinh(2 * delta * w2 * t) + w1 * a2**2 * np.sinh(2 * delta * w1 * t)
        return explained / (2 * fraction * delta) - 1

    # one layer alone takes longer; the margin is for rounding
    return _root(left, min(alone) * (1 + 1e-9))


def check_positive(**values):
    for name, value in values.items():
        if not np.all((value > 0) & (value < np.inf)):
            raise ValueError(f"{name} = {value} must be positive and finite")


def _root(fn, top):
    """Of a rising function, between 0 and where it is no longer negative, to rounding."""
    from scipy.optimize import brentq

    if top == 0:
        return 0.0
    return float(brentq(fn, 0.0, top, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=10_000))  # pyright: ignore[reportArgumentType]
