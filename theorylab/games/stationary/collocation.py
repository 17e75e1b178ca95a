"""The stationary law of a scalar chain whose components are smooth and not affine, by Chebyshev collocation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from ..epochs import EpochMethod
from . import laws
from .subsets import reshuffled_law
from .updates import Updates

Values = Float[np.ndarray, "*values"]

KNOWN = ("independent", "reshuffle", "cyclic")
"""The orders whose epochs have one law and an affordable mean."""
COMPONENTS = 16
"""The most components whose subsets are visited."""


class Expectation(NamedTuple):
    """A stationary expectation: `value` (...), and `error` (...), its change from two thirds of the nodes."""

    value: Values
    error: Values


def stationary_expectation(
    game: Any,
    method: Any,
    interval: tuple[float, float],
    function: Callable,
    *,
    nodes: int = 32,
) -> Expectation:
    r"""Find $E\,g(x)$ at the ends of epochs of a scalar chain, to about twelve digits where all is smooth.

    An update with component i moves x to $h_i(x)$. On Chebyshev nodes $x_j$ with Lagrange polynomials $\ell_l$ it takes
    values of a function to $f(h_i(x_j)) = \sum_l K_{i,jl} f(x_l)$, $K_{i,jl} = \ell_l(h_i(x_j))$, up to interpolation,
    whose error falls geometrically for analytic components. An epoch is the mean of the products of these matrices over
    the orders, by the recursion over subsets that affine games use; its left fixed vector p gives $E\,g = \sum_j p_j
    g(x_j)$. For affine components and polynomials g the interpolation is exact.

    **Arguments**: `game`, a problem on scalar x (one number, of any shape), of concrete arrays; `method`, an epoch
    method with constant steps, no memory and no smoothing; `interval` (low, high), which every update must map into
    itself; `function` g, NumPy or JAX, from points (k,) to values (..., k); `nodes`, at least 6.

    **Returns** `value` (...) and `error` (...), float64: how far the value is from that with two thirds of the nodes,
    an upper estimate of its error. Where that is large, take more nodes or a smaller interval.

    **Raises** `ValueError` for an interval that an update leaves (with the point, and where it goes), an x that is not
    scalar, a method with memory, noise or a schedule, the orders `"once"` and `"flipflop"`, more than 16 reshuffled
    components, and arguments of the wrong shape.

    **Source**: derived here; checked against exact moments of affine games, and against simulation.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.FiniteSum(lambda i, x: jnp.asarray([3.0, 1.0])[i] * x + jnp.asarray([1.0, -1.0])[i], 2)
        >>> method = tl.games.GradientDescentAscent(0.125)
        >>> mean = tl.games.stationary_expectation(game, method, (-2.0, 2.0), lambda x: x)
        >>> round(mean.value.item(), 9), round(-0.125 * 2 / (2 * (4 - 0.125 * 3)), 9)
        (-0.034482759, -0.034482759)
    """
    _check(game, method, interval, nodes)
    value, rough = (_expectation(game, method, interval, function, count) for count in (nodes, 2 * nodes // 3))
    return Expectation(value, np.abs(value - rough))


def _expectation(game, method, interval, function, nodes):
    points = _chebyshev(nodes, *interval)
    values = np.asarray(function(points), float)
    if values.shape[-1:] != (nodes,):
        raise ValueError(f"function(x) has the shape {values.shape} for x of {points.shape}: return (..., {nodes})")

    def push(groups):
        # transposed, the matrices push measures forward: then the last update of an epoch is the leftmost factor
        return _interpolation(points, _moved(game, method, groups, points, interval)).mT

    epoch = _epoch(method.order, Updates(push, game.n, method.batch_size, method.samples))
    # the total mass, 1, is kept: it takes the place of the one equation too many
    balance = np.eye(nodes) - epoch + 1 / nodes
    return values @ np.linalg.solve(balance, np.full(nodes, 1 / nodes))


def _epoch(order, updates):
    """E[H] of one epoch."""
    if order == "reshuffle":
        return reshuffled_law(updates).mean
    if order == "cyclic":
        return laws.products(updates, np.tile(np.arange(updates.n), updates.samples)[None])[0][0]
    sizes = [stop - start for start, stop in updates.cuts()]

    def update(size):
        groups, chances = laws.multisets(updates.n, size // updates.samples, updates.samples)
        return np.tensordot(chances, updates.maps(groups), axes=1)

    whole = sizes.count(sizes[0])
    epoch = np.linalg.matrix_power(update(sizes[0]), whole)
    return epoch if whole == len(sizes) else update(sizes[-1]) @ epoch


def _chebyshev(nodes, low, high):
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * np.arange(nodes) / (nodes - 1))


def _interpolation(points, x):
    """(..., k) points to matrices (..., k, nodes) of the Lagrange polynomials there, by the barycentric formula."""
    weights = (-1.0) ** np.arange(len(points))
    weights[[0, -1]] /= 2
    gaps = x[..., None] - points
    hits = gaps == 0
    terms = weights / np.where(hits, 1.0, gaps)
    matrix = terms / terms.sum(axis=-1, keepdims=True)
    return np.where(hits.any(axis=-1, keepdims=True), hits, matrix)


def _moved(game, method, groups, points, interval):
    with jax.enable_x64(True):
        game, method = _wide(game), _wide(method)
        moved = np.asarray(_updates(game, method, jnp.asarray(groups, jnp.int32), jnp.asarray(points)))
    low, high = interval
    slack = 1e-12 * (high - low)  # rounding at an end that is a fixed point
    outside = ~((moved >= low - slack) & (moved <= high + slack))
    if outside.any():
        k, j = np.argwhere(outside)[0]
        raise ValueError(
            f"interval = ({low}, {high}) is left: the update with component {', '.join(map(str, groups[k]))} takes "
            f"{points[j]:.6g} to {moved[k, j]:.6g}: take an interval that every update maps into itself, or smaller "
            "steps"
        )
    return moved


def _wide(tree):
    """In float64, what is a number; a smooth game may hold indices too."""

    def wide(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(np.asarray(leaf), jnp.float64) if floating else leaf

    return jax.tree.map(wide, tree)


@jax.jit
def _updates(game, method, groups, points):
    _, unravel = ravel_pytree(_template(game))

    def one(group, point):
        x, _ = method.update(game, unravel(point[None]), None, method.oracles(game, group, None, None))
        return ravel_pytree(x)[0][0]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(groups, points)


def _template(game):
    for name in ("solution", "start"):
        if (found := getattr(game, name, None)) is not None:
            return found
    return jnp.zeros(())


def _check(game, method, interval, nodes):
    if not isinstance(method, EpochMethod):
        raise ValueError(
            f"method is a {type(method).__name__}: pass GradientDescentAscent, Extragradient or another epoch method"
        )
    if not all(hasattr(game, name) for name in ("n", "component")):
        raise ValueError(f"game is a {type(game).__name__}: pass a problem with n and component(i, x)")
    x = _template(game)
    if (size := sum(jnp.size(leaf) for leaf in jax.tree.leaves(x))) != 1:
        raise ValueError(
            f"game has an x of {size} numbers: collocation is for scalar x; an AffineGame has exact moments"
        )
    if method.remember(game, x) is not None:
        raise ValueError(f"method is a {type(method).__name__}, whose state is more than x: take one without memory")
    if any(callable(getattr(method, name)) for name in method.step_sizes):
        raise ValueError("method has step sizes that follow a schedule, so that nothing is stationary: pass numbers")
    if method.noise_site != "none":
        raise ValueError(f"noise_site = {method.noise_site!r}: collocation has no smoothing; take 'none'")
    if method.order not in KNOWN:
        raise ValueError(
            f"order = {method.order!r} is not one of {', '.join(map(repr, KNOWN))}, which collocation knows: a "
            "permutation of 'once' is 'cyclic' on permuted components"
        )
    if method.order == "reshuffle" and game.n > COMPONENTS:
        raise ValueError(f"n = {game.n} is above {COMPONENTS}, whose subsets fit: run the method, average late epochs")
    ends = np.asarray(interval, float)
    if ends.shape != (2,) or not np.all(np.isfinite(ends)) or ends[0] >= ends[1]:
        raise ValueError(f"interval = {interval} must be two finite numbers, the lower first")
    if nodes < 6:
        raise ValueError(f"nodes = {nodes} must be at least 6, so that two thirds of them still interpolate")
