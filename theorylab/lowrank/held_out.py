"""A low-rank matrix from grossly corrupted measurements in one call, with an answer to whether it was found."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from .. import engine
from ..engine.program import call, highest
from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal
from .problems import Factors, SensingProblem, check_rank
from .sensing import Link, Sensing
from .spectral_start import truncated_spectral_init
from .subgradient import PreconditionedSubgradient

Outcome = Literal["recovered", "not_recovered", "undecided"]
DAMPING = 1e-3
"""Of the preconditioner, over the norm of the start."""
DECAY = 1e-6
"""Of a step's size, from the first to the last."""
AGREES = 1e-4
"""What a residual may be of the measurements' scale where it counts as none: a hundred times the last step."""
SPREAD = 1e-2
"""What of every direction must stand in ordinary rows. Random spaces were seen to have more, from 20 rows on and up to
a quarter as many dimensions."""
FAR = 2e-2
"""From this relative error on, twice what "recovered" allows, a matrix is called not recovered."""


class HeldOut(NamedTuple):
    """What the measurements that were kept from the fit say of it.

    **Arguments**: `measurements`, their indices (h,); `residuals`, |<A_k, X> - y_k| over `scale`, (h,); `scale`, the
    root mean square of the smaller three quarters of all <A_k, X>, and at least a tenth of that of all, ();
    `agreeing`, the share of residuals that are none, up to rounding.
    """

    measurements: Int[np.ndarray, " h"]
    residuals: Float[np.ndarray, " h"]
    scale: float
    agreeing: float

    @property
    def median(self) -> float:
        """The median residual, in units of the scale."""
        return float(np.median(self.residuals))


class Recovery(NamedTuple):
    """A matrix, and whether it is the one that was measured.

    **Arguments**: `factors` (L, R), (n1, rank) and (n2, rank); `rank`, the least that explains what was held out;
    `outcome`, `"recovered"`, `"not_recovered"` or `"undecided"`; `held_out`, what the measurements that were held out
    say: which they are, their `residuals` (h,) over a `scale`, the share `agreeing`, the `median`; `solution`, the
    engine's, of the run that ended in the factors.
    """

    factors: Factors
    rank: int
    outcome: Outcome
    held_out: HeldOut
    solution: Any

    @property
    def matrix(self) -> Float[Array, "n1 n2"]:
        """L R', (n1, n2)."""
        L, R = self.factors
        return L @ R.T


class _Kept(Sensing):
    """Some of the measurements of an operator: the others are zero, here and in the observations."""

    whole: Sensing
    kept: Float[Array, " m"]

    def __init__(self, whole: Sensing, kept: Float[Array, " m"]):
        self.whole, self.kept = whole, kept

    @property
    def shape(self):
        return self.whole.shape

    @property
    def measurements(self):
        return self.whole.measurements

    def gain(self):
        return self.whole.gain() * jnp.mean(self.kept)

    def apply(self, X):
        return self.kept * self.whole.apply(X)

    def adjoint(self, y):
        return self.whole.adjoint(self.kept * y)

    def apply_factors(self, L, R):
        return self.kept * self.whole.apply_factors(L, R)

    def factor_gradients(self, L, R, observations, link: Link):
        residual, of_L, of_R = self.whole.factor_gradients(L, R, observations, lambda z: self.kept * link(z))
        return self.kept * residual, of_L, of_R


@highest
def robust_recovery(
    operator: Sensing, observations: Numbers, *, rank: int | None = None, key: Key = 0, steps: int = 1000
) -> Recovery:
    r"""Recover a low-rank matrix from measurements of which some are grossly wrong, and say whether it was found.

    A random tenth of the measurements is held out. For ranks from 1 to 4, then 5 to 8, 9 to 16 and so on, until larger
    ones predict no better, the others are fitted by `PreconditionedSubgradient` from a truncated spectral start, with
    geometric steps, which need no minimum. The least rank that explains what was held out is taken, since surplus
    columns can fit outliers and leave the loss at its minimum on a wrong matrix.

    A residual counts as none at $10^{-4}$ of the scale of $\mathcal A(X)$: the root mean square of its smaller three
    quarters, and at least a tenth of that of all. With I the measurements that agree so, the answer is

    - `"recovered"` where a quarter of the held-out measurements and more agree, every row and column is seen by at
      least rank + 2 of I, two more than the numbers that a row of a factor has, and no direction of the matrix stands
      in a few rows or columns alone, as a fitted outlier does. It then means a relative error of at most 1e-2, where
      errors are gross ones on fewer than half of the measurements and no others.
    - `"not_recovered"` where the error that the residuals show, of what was held out or of the rows and columns one by
      one, is 2e-2 or more.
    - `"undecided"` between. Noise on every measurement, up to 2 %, ends here.

    What no measurement contradicts cannot be told from the truth: a true part that lives in a few entries alone, or
    errors that agree with one another on more than half of the measurements.

    **Arguments**

    - `operator`, any `Sensing`; `observations` y (m,), m >= 10, finite.
    - `rank`, the largest to consider, or None for all that the measurements can tell: rank (n1 + n2) < m.
    - `key`, a key or a seed, of the draw of what is held out; `steps` of each fit, at least 1. More steps are slower
      and reach closer to the fraction of outliers where recovery breaks down.

    **Returns** a `Recovery`.

    **Raises** `ValueError` for observations of another length, that are not finite or all zero, too few of them, a
    rank or a number of steps out of range, and under a JAX transformation, since the rank is chosen by values.

    **Source**: derived here, around the method of Giampouras, Cai, Vidal (2025), arXiv 2410.16826. Checked on random
    problems of every operator on both sides of the boundary: no `"recovered"` is wrong, and few answers are undecided.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.completion_problem(jax.random.key(0), shape=(20, 20), true_rank=2, outliers=0.1)
        >>> found = tl.lowrank.robust_recovery(problem.operator, problem.observations, rank=4)
        >>> found.outcome, found.rank, bool(problem.error(found.factors) < 1e-4)
        ('recovered', 2, True)
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((operator, observations, key))):
        raise ValueError("robust_recovery chooses a rank by values, which jit, vmap and grad hide: call it outside")
    problem = SensingProblem(operator, observations)
    y, m, (n1, n2) = problem.observations, operator.measurements, operator.shape
    if not np.any(y):
        raise ValueError("observations are all zero, so that there is no direction to start from: pass data")
    if m < 10:
        raise ValueError(f"observations has {m} entries: pass at least 10, of which one in ten is held out")
    most = min(n1, n2, (m - 1) // (n1 + n2))
    if most < 1:
        raise ValueError(f"observations has {m} entries, and a matrix of rank one has {n1 + n2} numbers: measure more")
    if rank is not None:
        check_rank("rank", rank, (n1, n2))
        most = min(most, rank)
    if steps < 1:
        raise ValueError(f"steps = {steps} must be at least 1: those of each fit")
    held = jax.random.permutation(key, m) < -(-m // 10)
    kept = jnp.where(held, 0, 1).astype(y.dtype)

    best: Any = None
    for low, high in _batches(most):
        lanes = _fit(operator, y, kept, _starts(operator, kept * y, kept, low, high), steps)
        candidates = [_candidate(y, held, low + i, lanes, i) for i in range(high - low + 1)]
        best = min([best or candidates[0], *candidates], key=lambda one: (not one.explains, one.explains and one.rank,
                                                                         one.held_out.median))  # fmt: skip
        if best.explains or best.rank < low:
            break
    L, R = best.solution.value
    factors = L[:, : best.rank], R[:, : best.rank]
    return Recovery(factors, best.rank, _outcome(operator, y, best, factors), best.held_out, best.solution)


class _Candidate(NamedTuple):
    rank: int
    solution: Any
    residuals: np.ndarray  # |<A_k, X> - y_k| of all measurements, in units of the scale
    held_out: HeldOut

    @property
    def explains(self):
        """Whether a quarter of what was held out agrees: of a right matrix more than half do but for chance, of a
        wrong one that sees them all next to none, and one that is wrong in parts is told by its rows and columns."""
        return self.held_out.agreeing >= 1 / 4


def _batches(most):
    """Ranks by batches, whose highest is the width of all factors in them: 1 to 4, 5 to 8, 9 to 16, and so on."""
    low, high = 1, 4
    while low <= most:
        yield low, min(high, most)
        low, high = high + 1, 2 * high


def _starts(operator, y, kept, low, high):
    """The spectral start of each rank from `low` to `high`, lanes of factors: columns beyond the rank are zero, and
    stay so."""

    def run(operator, y, kept):
        L, R = truncated_spectral_init(SensingProblem(_Kept(operator, kept), y), high)
        columns = (jnp.arange(high)[None] < jnp.arange(low, high + 1)[:, None]).astype(y.dtype)[:, None]
        return L[None] * columns, R[None] * columns

    return call(run, operator, y, kept)


def _fit(operator, y, kept, starts, steps):
    """The engine's solution of each start, lanes of one program, and its A(L R')."""

    def run(operator, y, kept, starts):
        problem = SensingProblem(_Kept(operator, kept), kept * y)

        def fit(start):
            damping = DAMPING * jnp.linalg.norm(start[0] @ start[1].T)
            method = PreconditionedSubgradient(damping, "geometric", DECAY ** (1 / steps))
            solution = engine.solve(method, problem, start, key=0, steps=steps)
            return solution, operator.apply_factors(*solution.value)

        return jax.vmap(fit)(starts)

    return call(run, operator, y, kept, starts)


def _candidate(y, held, rank, lanes, i):
    solution, fitted = jax.tree.map(lambda leaf: leaf[i], lanes)
    fitted = np.asarray(fitted)
    # a fitted outlier must not make the scale by which it is judged
    squares = np.sort(fitted**2)
    scale = float(np.sqrt(max(np.mean(squares[: -(-3 * len(squares) // 4)]), np.mean(squares) / 100)))
    where = np.flatnonzero(held)
    residuals = np.full(len(fitted), np.inf)
    if 0 < scale < np.inf:
        residuals = np.abs(fitted - np.asarray(y)) / scale
    agreeing = float(np.mean(residuals[where] <= AGREES))
    return _Candidate(rank, solution, residuals, HeldOut(where, residuals[where], scale, agreeing))


def _outcome(operator, y, best, factors) -> Outcome:
    L, R = (np.asarray(factor, float) for factor in factors)
    if not best.explains:
        lower = np.quantile(best.held_out.residuals, 1 / 4)
        return "not_recovered" if 2 * lower >= FAR else "undecided"
    U, values, Vt = np.linalg.svd(L @ R.T, full_matrices=False)
    there = values > 1e-3 * values[0]
    error, sure = 0.0, True
    for basis, (agreeing, lower) in zip((U[:, there], Vt[there].T), _seen(operator, y, best.residuals), strict=True):
        shown = agreeing >= best.rank + 2
        sure &= bool(np.all(shown)) and _spread(basis) >= SPREAD
        error = max(error, 1.5 * np.sqrt(np.mean(np.where(shown, 0, lower) ** 2)))
    return "recovered" if sure else "not_recovered" if error >= FAR else "undecided"


def _spread(basis):
    """The least share that a direction of the space has in the two thirds of rows where the space has least: zero
    where a direction stands in a few rows, as that of a fitted outlier does, for whose rows no others speak."""
    ordinary = np.argsort(np.sum(basis**2, axis=1))[: -(-2 * len(basis) // 3)]
    return np.linalg.svd(basis[ordinary], compute_uv=False)[-1] ** 2


def _seen(operator, y, residuals):
    """Of each row, and of each column, how many of the measurements that see it agree, and the lower third of their
    residuals: its error, but for outliers."""
    n1, n2 = operator.shape

    def run(operator, y, residuals):
        a, b = normal(jax.random.key(0), (n1,), y.dtype), normal(jax.random.key(1), (n2,), y.dtype)

        def asked(line):
            values = jnp.abs(operator.apply(line))
            sees = values > 1e-5 * jnp.max(values)
            lower = jnp.nanquantile(jnp.where(sees, residuals, jnp.nan), 1 / 3)
            return jnp.sum(sees & (residuals <= AGREES)), jnp.where(jnp.any(sees), lower, 0)

        # a matrix with one row, or one column, that is not zero
        nothing = jnp.zeros(operator.shape, y.dtype)
        of_rows = lax.map(lambda i: asked(nothing.at[i].set(b)), jnp.arange(n1))
        of_columns = lax.map(lambda j: asked(nothing.at[:, j].set(a)), jnp.arange(n2))
        return of_rows, of_columns

    return jax.tree.map(np.asarray, call(run, operator, y, jnp.asarray(residuals, y.dtype)))
