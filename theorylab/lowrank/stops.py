"""When the subgradient method may stop without a truth to compare with: rules named for what they know."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, ScalarLike

from ..engine.status import CONVERGED, RUNNING, STALLED
from ..engine.until import Stop


def at_minimum(tol: ScalarLike = 1e-8, *, every: int = 10) -> Stop:
    r"""Stop on the loss alone: converged at its minimum, or stalled below one that is too large.

    Converged once the excess of the loss over its minimum is at most `tol` times the loss of the matrix zero. Stalled,
    the lane's status for a wrong minimum, once the loss is below the minimum by more than rounding. A minimum that is
    too small is never reached: such a run ends with `max_steps`.

    It proves nothing of the matrix. Factors with more columns than the truth can fit outliers, and have the loss of the
    truth on another matrix; `robust_recovery` asks measurements that were held out.

    **Arguments**: `tol` > 0, relative; `every` >= 1, steps from one test to the next.

    **Returns** a rule for `until=`, for states of `PreconditionedSubgradient` on problems whose minimum is known.

    **Raises** `ValueError` for a tolerance that is not positive, and when the run starts where no minimum is known.

    **Source**: derived here; the released code stops on the error from the truth.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.sensing_problem(jax.random.key(0), shape=(6, 6), true_rank=1, measurements=100)
        >>> x0 = tl.lowrank.truncated_spectral_init(problem, 1)
        >>> method = tl.lowrank.PreconditionedSubgradient(0.0)
        >>> run = tl.solve(method, problem, x0, key=0, steps=500, until=tl.lowrank.at_minimum(1e-5))
        >>> bool(run.status == tl.Status.converged), bool(problem.error(run.value) < 1e-4)
        (True, True)
    """
    return _AtMinimum(_losses, tol=_positive(tol, "a share of the loss of the matrix zero"), every=every)


def settled(tol: ScalarLike = 1e-8, *, every: int = 10) -> Stop:
    r"""Stop on the movement alone: stalled once a step moves the matrix by at most `tol` of its norm.

    It proves that steps have become small, and no more: geometric steps do so by themselves, wherever they are.

    **Arguments**: `tol` > 0, relative; `every` >= 1, steps from one test to the next.

    **Returns** a rule for `until=`, for states of `PreconditionedSubgradient`.

    **Raises** `ValueError` for a tolerance that is not positive.

    **Source**: derived here.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.sensing_problem(jax.random.key(0), shape=(6, 6), true_rank=1, measurements=100)
        >>> x0 = tl.lowrank.truncated_spectral_init(problem, 1)
        >>> method = tl.lowrank.PreconditionedSubgradient(0.0, "geometric", 0.9)
        >>> run = tl.solve(method, problem, x0, key=0, steps=500, until=tl.lowrank.settled(1e-5))
        >>> bool(run.status == tl.Status.stalled), int(run.steps) < 200
        (True, True)
    """
    return _Settled(lambda problem, state: state.movement, tol=_positive(tol, "a share of the norm"), every=every)


def _losses(problem, state):
    if state.gap is None:
        raise ValueError(
            "at_minimum stops at the loss's minimum, which this problem does not know: pass minimum= to "
            "SensingProblem, or stop by settled"
        )
    return state.gap, state.loss, state.zero_loss


class _AtMinimum(Stop):
    tol: Float[Array, ""]

    def update(self, carry, value, t):
        gap, loss, scale = value
        rounding = 100 * jnp.finfo(loss.dtype).eps * (loss + scale)
        code = jnp.where(gap <= self.tol.astype(loss.dtype) * scale, jnp.int8(CONVERGED), jnp.int8(RUNNING))
        return carry, jnp.where(gap < -rounding, jnp.int8(STALLED), code)


class _Settled(Stop):
    tol: Float[Array, ""]

    def update(self, carry, value, t):
        return carry, jnp.where(value <= self.tol.astype(value.dtype), jnp.int8(STALLED), jnp.int8(RUNNING))


def _positive(tol: ScalarLike, meaning: str) -> Float[Array, ""]:
    if not np.asarray(tol) > 0:
        raise ValueError(f"tol = {tol} must be positive: {meaning}")
    return jnp.asarray(tol)
