"""How a run ended: one small code per lane inside compiled programs, an enumeration at the surface."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int8


class Status(eqx.Enumeration):
    """How a lane ended.

    `Status[status]` gives the sentence, `status == Status.converged` compares.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.Status[tl.Status.converged]
        'converged: the stopping rule `until` was met.'
    """

    running = "running: the lane has neither stopped nor used up its steps."
    converged = "converged: the stopping rule `until` was met."
    max_steps = "max_steps: all steps were taken and no stopping rule was met."
    stalled = "stalled: the watched quantity stopped improving. Try another step size, or a longer patience."
    diverged = (
        "diverged: the iterate grew by more than a factor of 1e12. Try a smaller step size; the method's theory gives"
        " a cap."
    )
    nonfinite = (
        "nonfinite: the iterate holds a NaN or an infinity. Check the problem's data at the starting point, then try a"
        " smaller step size or float64."
    )
    invalid = "invalid: a hyper-parameter of this lane is out of range, so it was not run."


NAMES = ("running", "converged", "max_steps", "stalled", "diverged", "nonfinite", "invalid")
RUNNING, CONVERGED, MAX_STEPS, STALLED, DIVERGED, NONFINITE, INVALID = range(len(NAMES))


def from_code(code: Int8[Array, ""]) -> Status:
    """The member of `Status` with this code; works on traced codes.

    **Arguments**: `code`, int8 (), as datasets hold it.

    **Returns** the member.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> bool(tl.engine.status.from_code(jnp.int8(2)) == tl.Status.max_steps)
        True
    """
    item = Status.running
    for other, name in enumerate(NAMES):
        item = Status.where(jnp.asarray(code) == jnp.int8(other), getattr(Status, name), item)
    return item
