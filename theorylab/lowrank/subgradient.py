"""Preconditioned subgradient steps on the factors of a low-rank matrix: OPSA and its relatives, from one kernel."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, ArrayLike, Float, PyTree

from ..engine.method import Method, hyperparameter, start
from ..numerics.checked import Key
from .problems import Factors, check_rank, warn_if_small

Step = Literal["polyak", "geometric", "constant"]
Loss = Literal["absolute", "squared"]
Preconditioner = Literal["gram", "adaptive", "none"]


def measured_loss(loss: Loss, residual: Float[Array, " m"]) -> Float[Array, " m"]:
    """Evaluate the loss of each measurement, |z| or z^2 / 2, (m,)."""
    return jnp.abs(residual) if loss == "absolute" else residual**2 / 2


def precondition(
    gradient: Float[Array, "n rank"], other: Float[Array, "n2 rank"], damping: Float[Array, ""]
) -> Float[Array, "n rank"]:
    r"""Multiply the gradient in one factor by the damped inverse Gram matrix of the other: $G(R^TR + \lambda I)^{-1}$.

    **Arguments**: `gradient` G (n, rank); `other` R (n2, rank); `damping` $\lambda \ge 0$, ().

    **Returns** (n, rank); NaN where the matrix is singular.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826.

        >>> import jax.numpy as jnp
        >>> from theorylab.lowrank.subgradient import precondition
        >>> precondition(jnp.asarray([[8.0]]), jnp.asarray([[1.0]]), jnp.asarray(3.0)).tolist()
        [[2.0]]
    """
    gram = other.T @ other + damping * jnp.eye(other.shape[1], dtype=other.dtype)
    return cho_solve(cho_factor(gram, lower=True), gradient.T).T


class SubgradientState(eqx.Module):
    """The factors, and what the last step saw: what rules that know no truth stop on.

    **Arguments**: `x`, the factors (L, R); `zero_loss`, the loss of the matrix zero, (); `loss`, at the point that the
    last step began from, (); `gap`, its excess over the minimum, (), None where none is known; `movement`, |X' - X| /
    |X| of that step, (), one before the first; `scale`, the size of the next step under `"geometric"`, (), else None.
    """

    x: Factors
    zero_loss: Float[Array, ""]
    loss: Float[Array, ""]
    gap: Float[Array, ""] | None
    movement: Float[Array, ""]
    scale: Float[Array, ""] | None = None


class PreconditionedSubgradient(Method):
    r"""OPSA: the subgradient in each factor times the damped inverse Gram matrix of the other.

    With $S = \frac1m \sum_k \mathrm{sign}(z_k) A_k$, $z = \mathcal A(LR^T) - y$ (sign(0) = 0), both factors move at
    once, $L^+ = L - \eta\, S R (R^T R + \lambda I)^{-1}$ and $R^+ = R - \eta\, S^T L (L^T L + \lambda I)^{-1}$. With d
    the squared length $\langle SR, SR(\cdot)^{-1}\rangle + \langle S^TL, S^TL(\cdot)^{-1}\rangle$ of the direction,
    $\eta$ is $(\ell - \ell^\star)/d$ (`"polyak"`), $\eta_0 q^t/\sqrt d$ (`"geometric"`) or a constant.

    The default is OPSA as released. Scaled subgradient: `damping=0` at the true rank. Plain subgradient:
    `preconditioner="none"`. The regularised variant of the paper's first version: `regularised=True`. Of the squared
    loss $\frac{1}{2m}|z|^2$, with `step="constant"`: gradient descent (`preconditioner="none"`), scaled gradient
    descent (`damping=0`, or damped), PrecGD (`preconditioner="adaptive"`).

    Where the solution is known, $\ell - \ell^\star$ is summed term by term, $|z_k| - |s_k|$, so that outliers do not
    drown it in single precision. A minimum that is too large makes it negative: the step is then zero, never uphill,
    `gap` in the state says so, and the rule `at_minimum` stops there.

    **Arguments**: `damping` $\lambda \ge 0$, (), in the unit of the singular values; `step`, `"polyak"`, `"geometric"`
    or `"constant"`; `decay` q in (0, 1), (), for `"geometric"`; `step_size` $\eta > 0$, (), for `"constant"`, or
    $\eta_0$ for `"geometric"`, by default half the norm of the starting matrix (with `preconditioner="none"` it must be
    given); `loss`, `"absolute"` or `"squared"`; `preconditioner`, `"gram"`, `"adaptive"` (the damping times the root of
    the loss) or `"none"`; `regularised`, whether $\lambda L$ and $\lambda R$ join the subgradients, the Polyak step
    being that of the loss alone. x0 is the pair (L, R), (n1, rank) and (n2, rank), as from `truncated_spectral_init`.

    **Raises** `ValueError` for a value out of range, a step without the numbers it needs or with ones that it does not
    use, factors that do not fit the problem, a Polyak step without a minimum, and damping 0 where the rank is known to
    exceed the true one; it warns where rank (n1 + n2) >= m.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, and the authors' released code; geometric steps after
    Tong, Ma, Chi (2021), arXiv 2010.13364; adaptive damping: Zhang, Fattahi, Zhang (2021), arXiv 2110.10279.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.sensing_problem(
        ...     jax.random.key(0), shape=(8, 8), true_rank=1, measurements=200, outliers=0.1
        ... )
        >>> x0 = tl.lowrank.truncated_spectral_init(problem, 2, outliers=0.1)
        >>> method = tl.lowrank.PreconditionedSubgradient(1e-3)
        >>> solution = tl.solve(method, problem, x0, key=0, steps=100)
        >>> bool(problem.error(solution.value) < 1e-4)
        True
    """

    cites: ClassVar[tuple[str, ...]] = ("opsa_robust_recovery",)

    damping: Float[Array, "*lanes"]
    step_rule: Step = eqx.field(static=True)
    decay: Float[Array, "*lanes"] | None
    step_size: Float[Array, "*lanes"] | None
    loss: Loss = eqx.field(static=True)
    preconditioner: Preconditioner = eqx.field(static=True)
    regularised: bool = eqx.field(static=True)
    undamped: bool = eqx.field(static=True)

    def __init__(
        self,
        damping: ArrayLike,
        step: Step = "polyak",
        decay: ArrayLike | None = None,
        *,
        step_size: ArrayLike | None = None,
        loss: Loss = "absolute",
        preconditioner: Preconditioner = "gram",
        regularised: bool = False,
    ):
        _used("decay", decay, step, needed=step == "geometric", allowed=step == "geometric")
        # a geometric run can take the size of its first step from the start, which a preconditioner gives its unit
        free = step == "geometric" and preconditioner != "none"
        _used("step_size", step_size, step, needed=step != "polyak" and not free, allowed=step != "polyak")
        self.damping = hyperparameter(damping)
        self.step_rule = step
        self.decay = None if decay is None else hyperparameter(decay)
        self.step_size = None if step_size is None else hyperparameter(step_size)
        self.loss, self.preconditioner, self.regularised = loss, preconditioner, regularised
        # known without its value, since a run only sees a tracer in place of the damping
        known = not isinstance(self.damping, Tracer)
        self.undamped = preconditioner != "none" and known and not np.any(self.damping)

    def requires(self) -> Mapping[str, Array | bool]:
        """Ask for a damping that is not negative, a positive step size and a decay in (0, 1)."""
        damping, decay, size = self.damping, self.decay, self.step_size
        found = {f"damping = {damping} must be finite and >= 0": jnp.all(jnp.isfinite(damping) & (damping >= 0))}
        if decay is not None:
            found[f"decay = {decay} must lie in (0, 1): the factor from one step to the next"] = jnp.all(
                (decay > 0) & (decay < 1)
            )
        if size is not None:
            found[f"step_size = {size} must be positive and finite"] = jnp.all(jnp.isfinite(size) & (size > 0))
        return found

    def init(self, problem: Any, key: Key, x0: PyTree | None = None) -> SubgradientState:
        """Make the state at the factors x0."""
        x = start(problem, key, x0)
        self._check(problem, x)
        dtype = x[0].dtype
        scale = None
        if self.step_rule == "geometric":
            scale = _norm(*x) / 2 if self.step_size is None else jnp.asarray(self.step_size, dtype)
        zero_loss = jnp.mean(measured_loss(self.loss, problem.observations))
        terms = measured_loss(self.loss, problem.residual(x))
        return SubgradientState(x, zero_loss, jnp.mean(terms), self._gap(problem, terms), jnp.ones((), dtype), scale)

    def step(self, problem: Any, state: SubgradientState, key: Key) -> SubgradientState:
        """Step both factors."""
        del key
        L, R = state.x
        m, dtype = problem.operator.measurements, L.dtype
        link = jnp.sign if self.loss == "absolute" else lambda residual: residual
        residual, *gradients = problem.operator.factor_gradients(L, R, problem.observations, link)
        terms = measured_loss(self.loss, residual)
        damping = jnp.asarray(self.damping, dtype)
        if self.preconditioner == "adaptive":
            damping = damping * jnp.sqrt(jnp.mean(terms))
        of_L, of_R = (gradient / m for gradient in gradients)
        if self.regularised:
            of_L, of_R = of_L + damping * L, of_R + damping * R
        along_L, along_R = of_L, of_R
        if self.preconditioner != "none":
            along_L, along_R = precondition(of_L, R, damping), precondition(of_R, L, damping)
        squared_length = jnp.sum(of_L * along_L) + jnp.sum(of_R * along_R)
        gap = self._gap(problem, terms)
        size = self._size(state, gap, squared_length)
        move_L, move_R = -size * along_L, -size * along_R
        new = L + move_L, R + move_R
        # X' - X = dL R'^T + L dR^T, as one product of wider factors: no difference of nearly equal matrices
        change = _norm(jnp.concatenate([move_L, L], 1), jnp.concatenate([new[1], move_R], 1))
        scale = None if state.scale is None else state.scale * jnp.asarray(self.decay, dtype)
        return SubgradientState(new, state.zero_loss, jnp.mean(terms), gap, change / _norm(L, R), scale)

    def _gap(self, problem, terms):
        """The loss less its minimum."""
        if problem.noise is not None:
            at_truth = measured_loss(self.loss, problem.noise)
            gap = jnp.mean(terms - at_truth)
            return gap if problem.given_minimum is None else gap + (jnp.mean(at_truth) - problem.given_minimum)
        return None if problem.given_minimum is None else jnp.mean(terms - problem.given_minimum)

    def _size(self, state, gap, squared_length):
        """The step size, zero where there is no direction to trust: no subgradient, or a loss below its minimum."""
        if self.step_rule == "constant":
            return jnp.asarray(self.step_size, squared_length.dtype)
        go = squared_length > 0
        safe = jnp.where(go, squared_length, 1)
        if self.step_rule == "polyak":
            size = jnp.where(go & (gap > 0), gap, 0) / safe
        else:
            size = jnp.where(go, state.scale, 0) / jnp.sqrt(safe)
        # a singular Gram matrix must not pass for convergence
        return jnp.where(jnp.isnan(squared_length), jnp.nan, size)

    def _check(self, problem, x):
        n1, n2 = problem.operator.shape
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
        if [len(shape) for shape in shapes] != [2, 2] or shapes != [(n1, shapes[0][1]), (n2, shapes[0][1])]:
            raise ValueError(f"x0 has the shapes {shapes}: pass the factors (L, R), ({n1}, rank) and ({n2}, rank)")
        rank = shapes[0][1]
        check_rank("rank of x0", rank, (n1, n2))
        warn_if_small(problem.operator, rank)
        if self.step_rule == "polyak" and problem.given_minimum is None and problem.noise is None:
            raise ValueError(
                "minimum is None and the problem has no solution, but step = 'polyak' needs the loss at the truth: "
                "pass minimum= to SensingProblem (0 where the data can be fitted), or step='geometric'"
            )
        if self.undamped and problem.true_rank is not None and rank > problem.true_rank:
            raise ValueError(
                f"damping = 0 with factors of rank {rank}, above the true rank {problem.true_rank}: Gram matrices "
                f"become singular; pass damping > 0, or x0 of rank {problem.true_rank}"
            )


def _norm(left, right):
    """|left right'| in the Frobenius norm, without forming the product."""
    squared = jnp.sum((left.T @ left) * (right.T @ right))
    # the root of zero has no derivative
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _used(name, value, step, *, needed, allowed):
    if value is None and needed:
        raise ValueError(f"{name} is None: step = {step!r} needs it, so pass {name}")
    if value is not None and not allowed:
        raise ValueError(f"{name} = {value}: step = {step!r} does not use it, so leave {name} out")
