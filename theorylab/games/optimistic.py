"""Optimistic gradient: one operator call an update, the last one remembered."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from ..engine.method import hyperparameter
from . import orders
from .epochs import EpochMethod, Oracle, mean_operator, move

OPTIMISM = """@inproceedings{daskalakis2018optimism,
  title = {{Training GANs with Optimism}},
  author = {Constantinos Daskalakis and Andrew Ilyas and Vasilis Syrgkanis and Haoyang Zeng},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2018},
  eprint = {1711.00141},
  archiveprefix = {arXiv},
}
"""


class OptimisticGradient(EpochMethod):
    r"""Stochastic optimistic gradient: $x^+ = x - \gamma\,(2 g - g^-)$ with $g = F_i(x)$ and $g^-$ the last g.

    It imitates extragradient at half of its calls: the last update's oracle value stands for the look-ahead's. Before
    the first update it is the mean operator at x0. One step is one epoch: n updates (n component calls).

    **Arguments**: `step_size` $\gamma > 0$, () or like x (players at different speeds), or a schedule
    `updates -> step size`; `order`, `batch_size`, `noise_site` and `sigma` as in `GradientDescentAscent`.

    **Raises** `ValueError` as `GradientDescentAscent` does.

    **Source**: Popov (1980); Daskalakis, Ilyas, Syrgkanis, Zeng (2018), arXiv 1711.00141, optimistic mirror descent in
    the Euclidean geometry.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.zeros((2, 1)))
        >>> method = tl.games.OptimisticGradient(0.5)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([8.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [4.0]
    """

    cites: ClassVar[tuple[str, ...]] = (OPTIMISM,)

    step_size: Any = eqx.field(converter=hyperparameter)
    order: orders.Order = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def remember(self, problem: Any, x: PyTree[Array]) -> PyTree[Array]:
        """The mean operator at x."""
        return mean_operator(problem, x)

    def update(self, problem: Any, x: PyTree, memory: PyTree, oracles: tuple[Oracle, ...]) -> tuple[PyTree, PyTree]:
        """x - step_size (2 F_i(x) - memory), and F_i(x)."""
        (oracle,) = oracles
        value = oracle(x)
        return move(problem, x, self.step_size, jax.tree.map(lambda g, last: 2 * g - last, value, memory)), value
