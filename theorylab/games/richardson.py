"""Richardson extrapolation in the step size: chains at several steps, combined so that powers of the step cancel."""

from collections.abc import Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..engine.method import Method, start
from ..numerics.checked import Key
from ..numerics.extrapolation import richardson_weights

Coupling = Literal["shared", "independent"]


class RichardsonState(eqx.Module):
    """The emitted point and the chains that it is made of.

    **Arguments**: `x`, the extrapolated point, a pytree; `chains`, the states of the p chains, stacked on a leading
    axis; `mean`, the running averages of their iterates where these are combined, or None; `steps`, their number so
    far, (), or None.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]]]), jnp.zeros((1, 1)))
        >>> method = tl.games.Richardson(tl.games.GradientDescentAscent(0.25))
        >>> method.init(game, jax.random.key(0), jnp.asarray([8.0])).chains.x.shape
        (2, 1)
    """

    x: PyTree[Array]
    chains: Any
    mean: PyTree[Array] | None = None
    steps: Int[Array, ""] | None = None


class Richardson(Method):
    r"""Richardson-Romberg extrapolation of any method: $\hat x = \sum_j w_j\, x^{(m_j \gamma)}$.

    The chains run the method at its step sizes times the multipliers $m_j$, all from one start; the weights solve
    $\sum_j w_j = 1$, $\sum_j w_j m_j^q = 0$ for $0 < q < p$, so that a bias $c_1\gamma + c_2\gamma^2 + \dots$ loses its
    first p - 1 terms. (1, 2) is the published scheme, with weights (2, -1); other multipliers are ours. The
    extrapolated point is emitted and never fed back into the chains, which are lanes of one batch: their products with
    matrices that they share are matrix products.

    **Arguments**: `method`, with `scaled(factor)` (every epoch method, `Gradient` with a learning rate); `multipliers`
    (p,), positive and different; `coupling`, `"shared"` draws for all chains (a far smaller variance) or
    `"independent"` ones; `average`, whether to combine running averages over the steps so far instead of iterates.

    **Raises** `ValueError` for multipliers that are not positive or not different, and a method that cannot be scaled.

    **Source**: Emmanouilidis et al. (2026), "Shuffling the Data, Extrapolating the Step", SGD-RR2+RR1, for two chains.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]]]), jnp.zeros((1, 1)))
        >>> method = tl.games.Richardson(tl.games.GradientDescentAscent(0.25))
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([8.0]))
        >>> state = method.step(game, state, jax.random.key(1))
        >>> state.chains.x.tolist(), state.x.tolist()
        ([[6.0], [4.0]], [8.0])
    """

    method: Method
    multipliers: tuple[float, ...] = eqx.field(
        static=True, default=(1, 2), converter=lambda given: tuple(float(m) for m in given)
    )
    coupling: Coupling = eqx.field(static=True, default="shared")
    average: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        richardson_weights(self.multipliers)
        if not hasattr(self.method, "scaled"):
            raise ValueError(
                f"method is a {type(self.method).__name__}, whose step sizes are not known: give it a `scaled(factor)` "
                "that multiplies them"
            )

    @property
    def lanes(self) -> Literal["vmap", "map"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How the method itself runs its lanes."""
        return self.method.lanes

    @property
    def cites(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The paper of the scheme and those of the method."""
        return ("rr_richardson_vip", *self.method.cites)

    def requires(self) -> Mapping[str, Array | bool]:
        """What the method requires."""
        return self.method.requires()

    def chains(self) -> Method:
        """The method at each of the step sizes, its leaves stacked."""
        each = [self.method.scaled(m) for m in self.multipliers]  # pyright: ignore[reportAttributeAccessIssue]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def combine(self, values: PyTree[Array]) -> PyTree[Array]:
        """The weighted sum over the leading axis."""

        weights = richardson_weights(self.multipliers).tolist()
        return jax.tree.map(lambda leaf: sum(w * one for w, one in zip(weights, leaf, strict=True)), values)

    def init(self, problem: Any, key: Key, x0: PyTree | None = None) -> RichardsonState:
        """All chains at one start."""
        key_x, key_chains = jax.random.split(key)
        x = start(problem, key_x, x0)
        keys, axis = self._keys(key_chains)
        chains = jax.vmap(lambda method, key: method.init(problem, key, x), (0, axis))(self.chains(), keys)
        mean = self._values(problem, chains) if self.average else None
        return RichardsonState(x, chains, mean, jnp.zeros((), jnp.int32) if self.average else None)

    def step(self, problem: Any, state: RichardsonState, key: Key) -> RichardsonState:
        """One step of every chain."""
        keys, axis = self._keys(key)
        chains = jax.vmap(lambda method, chain, key: method.step(problem, chain, key), (0, 0, axis))(
            self.chains(), state.chains, keys
        )
        values = self._values(problem, chains)
        if state.steps is None:
            return RichardsonState(self.combine(values), chains)
        steps = state.steps + 1

        def average(mean, value):
            return mean + (value - mean) / jnp.asarray(steps, value.dtype)

        mean = jax.tree.map(average, state.mean, values)
        return RichardsonState(self.combine(mean), chains, mean, steps)

    def _values(self, problem, chains):
        return jax.vmap(lambda method, chain: method.readout(problem, chain))(self.chains(), chains)

    def _keys(self, key):
        return (key, None) if self.coupling == "shared" else (jax.random.split(key, len(self.multipliers)), 0)
