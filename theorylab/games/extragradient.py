"""Stochastic gradient descent-ascent, and extragradient with one sample for both of its operator calls or with two."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..engine.method import hyperparameter
from . import orders
from .epochs import EpochMethod, Oracle, move

MIRROR_PROX = """@article{juditsky2011mirrorprox,
  title = {{Solving Variational Inequalities with Stochastic Mirror-Prox Algorithm}},
  author = {Anatoli Juditsky and Arkadi Nemirovski and Claire Tauvel},
  journal = {Stochastic Systems},
  year = {2011},
  volume = {1},
}
"""


class GradientDescentAscent(EpochMethod):
    r"""Stochastic gradient descent-ascent: $x^+ = x - \gamma_1 F_i(x)$.

    **Arguments**: `step_size` $\gamma_1 > 0$, () or like x (players at different speeds), or a schedule
    `updates -> step size`; `order`, one of `orders.ORDERS`; `batch_size` b, components averaged in an update;
    `noise_site`, one of `epochs.NOISE_SITES`, and `sigma` $\sigma_\star \ge 0$, (), from the problem's solution where
    it is None. A problem has `n`, `component(i, x)` and, where no x0 is given, `initial(key)`; x is any pytree; with
    `prox(x, step)` each move ends in that proximal map. One step is one epoch: n updates under every order, 2n under
    `"flipflop"`.

    **Raises** `ValueError` for a step size that is not positive and finite, for an unknown order or noise site, for a
    batch size below 1 or above n, and for smoothing without a noise level.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, the baseline with $\gamma_2 = 0$.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[0.0], [0.0]]))
        >>> method = tl.games.GradientDescentAscent(0.5)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([8.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [2.0]
    """

    cites: ClassVar[tuple[str, ...]] = ("seg_rr",)

    step_size: Any = eqx.field(converter=hyperparameter)
    order: orders.Order = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def update(self, problem: Any, x: PyTree, memory: PyTree, oracles: tuple[Oracle, ...]) -> tuple[PyTree, PyTree]:
        """x - step_size F_i(x)."""
        (oracle,) = oracles
        return move(problem, x, self.step_size, oracle(x)), memory


class Extragradient(EpochMethod):
    r"""Same-sample stochastic extragradient: $\bar x = x - \gamma_2 F_i(x)$, $x^+ = x - \gamma_1 F_i(\bar x)$.

    The look-ahead sees the very component that the update uses, so that on bilinear games, where descent-ascent
    diverges, it contracts once $\gamma_2$ is large enough beside $\gamma_1$. With $\gamma_2 = 0$ it is descent-ascent.

    **Arguments**: `step_size` $\gamma_1 > 0$ and `extrapolation_step` $\gamma_2 \ge 0$, () or like x, or schedules
    `updates -> step size`; `order`, `batch_size`, `noise_site` and `sigma` as in `GradientDescentAscent`, the noise
    being part of the sample: both calls see the same draw. One step is one epoch: n updates (2n component calls).

    **Raises** `ValueError` for step sizes out of range or not finite, and as `GradientDescentAscent` does.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, SEG-RR.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[0.0, 1.0], [-1.0, 0.0]]]), jnp.zeros((1, 2)))
        >>> method = tl.games.Extragradient(0.25, 1.0)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([4.0, 0.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [3.0, 1.0]
    """

    cites: ClassVar[tuple[str, ...]] = ("seg_rr",)
    step_sizes: ClassVar[tuple[str, ...]] = ("step_size", "extrapolation_step")

    step_size: Any = eqx.field(converter=hyperparameter)
    extrapolation_step: Any = eqx.field(converter=hyperparameter)
    order: orders.Order = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def update(self, problem: Any, x: PyTree, memory: PyTree, oracles: tuple[Oracle, ...]) -> tuple[PyTree, PyTree]:
        """x - step_size F_i(x - extrapolation_step F_i(x)); of two oracles the first looks ahead."""
        ahead = move(problem, x, self.extrapolation_step, oracles[0](x))
        return move(problem, x, self.step_size, oracles[-1](ahead)), memory

    def requires(self) -> Mapping[str, Array | bool]:
        """The step size is positive and finite, the extrapolation step not negative and finite."""
        step = self.extrapolation_step
        if callable(step):
            return super().requires()
        sentence = f"extrapolation_step = {step} must be finite and >= 0: 2 or 4 times step_size is usual"
        return {**super().requires(), sentence: jnp.all(jnp.isfinite(step) & (step >= 0))}


class IndependentExtragradient(Extragradient):
    r"""Extragradient with two samples: $\bar x = x - \gamma_2 F_i(x)$, $x^+ = x - \gamma_1 F_j(\bar x)$.

    The look-ahead's sample i and the update's j are drawn as consecutive entries of the order: an epoch makes n
    updates, through two passes one after the other, so that its cost is that of `Extragradient`'s. Where the
    components differ, it diverges on bilinear games on which the same-sample method settles.

    **Arguments**: `step_size`, `extrapolation_step`, `order`, `batch_size`, `noise_site` and `sigma` as in
    `Extragradient`; smoothing noise is drawn for each of the two samples.

    **Raises** `ValueError` as `Extragradient` does.

    **Source**: Juditsky, Nemirovski, Tauvel (2011), stochastic mirror-prox; the order of the samples is ours.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[3.0]]]), jnp.zeros((2, 1)))
        >>> method = tl.games.IndependentExtragradient(0.5, 0.5, order="cyclic")
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([16.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [1.0]
    """

    cites: ClassVar[tuple[str, ...]] = (MIRROR_PROX,)
    samples: ClassVar[int] = 2
