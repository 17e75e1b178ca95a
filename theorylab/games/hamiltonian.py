"""Stochastic Hamiltonian gradient descent: down the squared norm of the operator."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..engine.method import hyperparameter
from . import orders
from .epochs import EpochMethod, Oracle, move

HAMILTONIAN = """@inproceedings{loizou2020hamiltonian,
  title = {{Stochastic Hamiltonian Gradient Methods for Smooth Games}},
  author = {Nicolas Loizou and Hugo Berard and Alexia Jolicoeur-Martineau and Pascal Vincent and Simon Lacoste-Julien
    and Ioannis Mitliagkas},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2020},
  eprint = {2007.04202},
  archiveprefix = {arXiv},
}
"""


class HamiltonianGradient(EpochMethod):
    r"""Stochastic Hamiltonian gradient: $x^+ = x - \gamma\, \nabla\, \tfrac12 \langle F_i(x), F_j(x)\rangle$.

    With two samples $\tfrac12 (J_i^T F_j + J_j^T F_i)$ is an unbiased gradient of the Hamiltonian $\tfrac12 |F|^2$,
    which descends on every game, bilinear ones too, to a point where $J^T F = 0$. The samples are consecutive entries
    of the order; an epoch makes n updates, through two passes one after the other.

    **Arguments**: `step_size` $\gamma > 0$, () or like x, or a schedule `updates -> step size`, in units of one over
    the square of a Lipschitz constant; `order`, `batch_size`, `noise_site` and `sigma` as in `GradientDescentAscent`
    (noise enters through the oracle values, drawn for each of the two samples).

    **Raises** `ValueError` as `GradientDescentAscent` does.

    **Source**: Loizou, Berard, Jolicoeur-Martineau, Vincent, Lacoste-Julien, Mitliagkas (2020), arXiv 2007.04202; on
    affine components checked against $\tfrac12 [A_i^T (A_j x + b_j) + A_j^T (A_i x + b_i)]$.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[0.0, 2.0], [-2.0, 0.0]]]), jnp.zeros((1, 2)))
        >>> method = tl.games.HamiltonianGradient(0.125)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([4.0, 2.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [2.0, 1.0]
    """

    cites: ClassVar[tuple[str, ...]] = (HAMILTONIAN,)
    samples: ClassVar[int] = 2

    step_size: Any = eqx.field(converter=hyperparameter)
    order: orders.Order = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def update(self, problem: Any, x: PyTree, memory: PyTree, oracles: tuple[Oracle, ...]) -> tuple[PyTree, PyTree]:
        """x - step_size (J_i^T F_j + J_j^T F_i) / 2."""
        (first, pull_first), (second, pull_second) = (jax.vjp(oracle, x) for oracle in oracles)
        (one,), (other,) = pull_first(second), pull_second(first)
        return move(problem, x, self.step_size, jax.tree.map(lambda a, b: (a + b) / 2, one, other)), memory
