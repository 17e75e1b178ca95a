r"""What the paper states of the flow of LoRA: two phases for each direction, and how far a small start aligns."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...numerics.checked import Numbers
from ..lora.scalar import check_positive


class Phases(NamedTuple):
    r"""The bounds of Theorem 4.1 for directions, in terms of $z_k = a_k^2 + b_k^2$.

    **Arguments**: `time` T1 of the first phase; `growth`, the least rate of log z1 in it; `separation`, the least rate
    of log(z1/z2); `decay`, the least rate at which the loss falls after it.
    """

    time: Float[np.ndarray, "*directions"]
    growth: Float[np.ndarray, "*directions"]
    separation: Float[np.ndarray, "*directions"]
    decay: Float[np.ndarray, "*directions"]


def phases(delta: Numbers, w1: Numbers, w2: Numbers, a1: Numbers, *, printed: bool = False) -> Phases:
    r"""State Theorem 4.1 for directions of a spectral start: two phases, with rates.

    $T_1 = \frac{2}{(3 + \delta_w)\delta w_2}\log\frac{\delta}{16z_1(0)}$. Up to it $\frac{d}{dt}\log z_1 \ge
    \frac{3 + \delta_w}{2}\delta w_2$ and $\frac{d}{dt}\log\frac{z_1}{z_2} \ge \frac{3(1 - \delta_w)}{2}\delta w_2$,
    after it the loss falls at least as $\exp(-\frac{1 - \delta_w}{8}\delta w_2t)$. Here $\delta_w = w_1/w_2$, as in the
    paper's Section 3; the theorem prints its inverse. From b = 0 the growth holds only from about $1/(\delta w_2)$ on,
    since z1 starts with zero slope.

    **Arguments**: `delta` > 0; `w1` > 0 and `w2` > w1, the layers' singular values (swap the layers if need be); `a1`,
    the start of the first layer, not 0; of shapes that go together; `printed`, whether to take the inverse quotient.

    **Returns** `Phases`, of the common shape, float64.

    **Raises** `ValueError` for an argument out of range, w1 = w2 among them, where the bounds are void.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem 4.1; a test holds the exact flow against it.

        >>> import theorylab as tl
        >>> found = tl.lowrank.claims.lora_gradient_flow.phases(2.0, 1.0, 1.5, 1e-3)
        >>> round(float(found.growth), 6), round(float(found.time), 3)
        (5.5, 2.134)
    """
    delta, w1, w2, start = np.broadcast_arrays(*(np.asarray(one, float) for one in (delta, w1, w2, a1)))
    check_positive(delta=delta, a1=np.abs(start))
    _check_order(w1, w2)
    ratio, rate = w2 / w1 if printed else w1 / w2, delta * w2
    growth = (3 + ratio) / 2 * rate
    values = np.log(delta / (16 * start**2)) / growth, growth, 3 * (1 - ratio) / 2 * rate, (1 - ratio) / 8 * rate
    return Phases(*map(np.asarray, values))


class Alignment(NamedTuple):
    r"""Powers of the scale $\alpha$ of a Gaussian start, as `alignment` states them.

    **Arguments**: `aligning`, the least power of $1 - \cos^2$ of the first layer when the first sub-phase ends;
    `aligned`, that when alignment ends; `imbalance`, the power of $\|Z_1\|^2/\|Z_2\|^2$, below 0.
    """

    aligning: Any
    aligned: Any
    imbalance: Any


def alignment(w1: Numbers, w2: Numbers) -> Alignment:
    r"""State Theorem C.1 and Claim 3.2: how far small Gaussian starts align, by powers of their scale $\alpha$.

    With $\delta_w = w_1/w_2$, $1 - \cos^2 \le c\,\alpha^{(3 + \delta_w)/(5 - \delta_w)}$ for the first layer when the
    first sub-phase ends, and $c\,\alpha^{(1 + \delta_w)/(3 + \delta_w)}$ at the end; $\|Z_1\|^2/\|Z_2\|^2 \ge
    c\,\alpha^{-4(1 - \delta_w)/(5 - \delta_w)}$. Bounds: the flow does better, with a final power of $4 - 2\delta_w$
    wherever it was measured (ratios 0.25, 0.5, 0.75 and 0.9, to within 0.06).

    **Arguments**: `w1` > 0 and `w2` > w1, the layers' singular values on the difference's direction, of shapes that go
    together.

    **Returns** `Alignment`.

    **Raises** `ValueError` for an argument out of range.

    **Source**: Xu et al. (2025), arXiv 2503.06982, Theorem C.1 and Claim 3.2, against which a test holds the flow.

        >>> import theorylab as tl
        >>> found = tl.lowrank.claims.lora_gradient_flow.alignment(1.0, 2.0)
        >>> round(found.aligned, 6), round(found.imbalance, 6)
        (0.428571, -0.444444)
    """
    _check_order(w1, w2)
    ratio: Any = w1 / w2  # pyright: ignore[reportOperatorIssue]: numbers, or arrays with or without names
    return Alignment((3 + ratio) / (5 - ratio), (1 + ratio) / (3 + ratio), -4 * (1 - ratio) / (5 - ratio))


def _check_order(w1, w2):
    check_positive(w1=w1, w2=w2)
    if not np.all(w1 < w2):
        raise ValueError(f"w1 = {w1} must lie below w2 = {w2}: swap the layers; the bounds are void where they agree")
