"""How a run ended: one small code per lane inside compiled programs, an enumeration at the surface."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int8


class Status(eqx.Enumeration):
    """How a lane ended, in terms of its readout, which is tested every 16 steps, and of the rules of `until`.

    `Status[status]` gives the sentence, `status == Status.converged` compares.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.Status[tl.Status.converged]
        'converged: the stopping rule `until` was met at this step, which proves what that rule tests.'
    """

    running = "running: the lane has neither stopped nor used up its steps."
    converged = "converged: the stopping rule `until` was met at this step, which proves what that rule tests."
    max_steps = "max_steps: all steps were taken and no stopping rule was met."
    stalled = (
        "stalled: the watched quantity stopped falling, at its lowest or held up. Try another step size, or a longer"
        " patience, to see which."
    )
    diverged = (
        "diverged: an entry of the readout passed 1e12 times the largest at the start (and 1e12). Try a smaller step"
        " size; the method's theory gives a cap."
    )
    nonfinite = (
        "nonfinite: the readout, or a loss that is watched, holds a NaN or an infinity. Check the problem's data at the"
        " starting point, then try a smaller step size or float64."
    )
    invalid = "invalid: a hyper-parameter of this lane is out of range; its results are NaN."


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
