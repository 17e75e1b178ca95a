"""Which exact law an epoch has: the choice between the ways to it, by their cost (host, float64)."""

from collections.abc import Callable
from itertools import permutations, product
from math import comb, factorial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .commuting import commuting_law, spectrum
from .laws import Law, Updates, composed, is_shared, multisets, products, shared_law, uniform_law
from .linearise import Linearised, linearise
from .richardson import Richardson
from .subsets import flipflop_law, reshuffled_law, terms

EXACT_FLOPS = 1e9
"""The most that one pass over the subsets (reshuffle), the orders (once) or the groups (independent) may cost to be
done exactly, and the most that building a law may cost (flip-flop, commuting matrices)."""
EXACT_COMPONENTS = {"reshuffle": 16, "flipflop": 16, "once": 9}
"""The most components whose subsets or orders are enumerated."""


class Setting(NamedTuple):
    """A method on an affine game, as the theory sees it.

    **Arguments**: `linear`, its updates and its readout; `updates`, what its epochs are made of; `order`; `noise_site`.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import setting
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> setting(game, tl.games.GradientDescentAscent(0.125)).order
        'reshuffle'
    """

    linear: Linearised
    updates: Updates
    order: str
    noise_site: str


def setting(game: Any, method: Any) -> Setting:
    """What the exact theory needs of a method on a game.

    **Arguments**: `game`, an `AffineGame` of concrete arrays; `method`, an epoch method with constant steps, or
    `Richardson` of one (its chains share their draws here).

    **Returns** `Setting`.

    **Raises** `ValueError` for another kind of game or method, and for step sizes that follow a schedule.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import setting
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> setting(game, tl.games.GradientDescentAscent(0.125)).updates.n
        2
    """
    linear = linearise(game, method)
    inner: Any = method.method if isinstance(method, Richardson) else method
    noise = _covariances(linear) if inner.noise_site == "oracle_step" else None
    updates = Updates(linear.maps, game.n, inner.batch_size, inner.samples, noise)
    return Setting(linear, updates, inner.order, inner.noise_site)


def uncoupled(method: Any) -> list[Any] | None:
    """The chains of a `Richardson` that draw for themselves, or None where there is nothing to take apart.

    **Arguments**: `method`.

    **Returns** a list of methods, one for each multiplier, or None.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import uncoupled
        >>> method = tl.games.Richardson(tl.games.GradientDescentAscent(0.25), coupling="independent")
        >>> [float(chain.step_size) for chain in uncoupled(method)]
        [0.25, 0.5]
    """
    if not isinstance(method, Richardson) or method.coupling == "shared":
        return None
    inner: Any = method.method
    return [inner.scaled(m) for m in method.multipliers]


def epoch_law(given: Setting) -> Law | None:
    """The law of one epoch with its noise, or None where that is beyond exact computation.

    That of `"once"` is the mean over its permutations.

    **Arguments**: `given`, a `Setting`.

    **Returns** a `Law` or None.

    **Source**: derived here; checked against the enumeration of all orders.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import epoch_law, setting
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> epoch_law(setting(game, tl.games.GradientDescentAscent(0.125))).mean.tolist()
        [[0.546875, -0.015625], [0.0, 1.0]]
    """
    law = _plain(given.updates, given.order)
    if law is None or given.noise_site in ("none", "oracle_step"):
        return law
    added = np.zeros_like(law.mean)
    if given.noise_site == "iterate":
        added[:-1, :-1] = given.linear.after @ given.linear.after.T
    else:
        start = np.zeros_like(law.mean)
        start[-1, -1] = 1.0
        # the matrices are the same, so that these laws are exact too; an epoch that starts at 0 ends at what it adds
        drawn = [one for updates in by_draw(given) if (one := _plain(updates, given.order))]
        added[:-1, :-1] = sum(one.transport(start)[:-1, :-1] for one in drawn)
    return Law(law.mean, lambda z: law.transport(z) + z[..., -1:, -1:] * added)


def update_law(given: Setting) -> tuple[Law, int] | None:
    """The law of one update and their number, where an epoch is so many independent ones that are alike.

    **Arguments**: `given`, a `Setting`.

    **Returns** (law, updates), or None.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import setting, update_law
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> update_law(setting(game, tl.games.GradientDescentAscent(0.125, "independent")))[1]
        2
    """
    alike = given.updates.n % given.updates.batch_size == 0 and given.noise_site in ("none", "oracle_step")
    if given.order != "independent" or not alike or not _independent_is_exact(given.updates):
        return None
    return _drawn(given.updates, given.updates.batch_size), len(given.updates.cuts())


def by_draw(given: Setting) -> list[Updates]:
    """The updates with what one coordinate of the epoch's own noise adds in the place of their offsets.

    **Arguments**: `given`, a `Setting` with noise at `"oracle_epoch"`.

    **Returns** a list of `Updates`, one for each coordinate.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> from theorylab.games.exact import by_draw, setting
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> method = tl.games.GradientDescentAscent(0.125, noise_site="oracle_epoch")
        >>> len(by_draw(setting(game, method)))
        1
    """

    def replaced(u):
        def maps(groups):
            found = given.linear.maps(groups)
            found[:, :-1, -1] = given.linear.noise(groups)[..., u]
            return found

        return given.updates._replace(maps=maps)

    width = given.linear.noise(np.zeros((1, given.updates.samples), int)).shape[-1]
    return [replaced(u) for u in range(width)]


def all_orders(updates: Updates) -> Int[np.ndarray, "k m"]:
    """Every sequence of independent permutations, one for each sample.

    **Arguments**: `updates`.

    **Returns** (n!^samples, samples * n).

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.exact import all_orders
        >>> from theorylab.games.laws import Updates
        >>> all_orders(Updates(np.ones, n=2)).tolist()
        [[0, 1], [1, 0]]
    """
    every = list(permutations(range(updates.n)))
    return np.asarray([sum(passes, ()) for passes in product(every, repeat=updates.samples)], int)


def _plain(updates: Updates, order: str) -> Law | None:
    """The law of an epoch without the noise that is drawn once an epoch."""
    if order == "independent":
        if not _independent_is_exact(updates):
            return None
        whole, rest = divmod(updates.n, updates.batch_size)
        return composed(_drawn(updates, updates.batch_size), whole, *([_drawn(updates, rest)] if rest else []))
    if order == "cyclic":
        return uniform_law(*products(updates, np.tile(np.arange(updates.n), updates.samples)[None]))
    if is_shared(updates):
        return shared_law(updates, order == "flipflop")
    return _flipflop(updates) if order == "flipflop" else _reshuffled(updates)


def _reshuffled(updates):
    p, n = _size(updates), updates.n
    if n <= EXACT_COMPONENTS["reshuffle"] and 4 * p**3 * terms(updates) <= EXACT_FLOPS:
        return reshuffled_law(updates)
    if updates.samples * updates.batch_size == 1 and n**3 * p**2 <= EXACT_FLOPS:
        maps, noise = updates.at(np.arange(n)[:, None])
        found = spectrum(maps[:, :-1, :-1])
        return None if found is None else commuting_law(found, maps, noise)
    return None


def _flipflop(updates):
    p, n = _size(updates), updates.n
    if n > EXACT_COMPONENTS["flipflop"]:
        return None
    by_subsets = 4 * (p * (p + 1) // 2) ** 3 * terms(updates)
    by_orders = 4 * p**3 * float(factorial(n)) ** updates.samples
    if min(by_subsets, by_orders) > EXACT_FLOPS:
        return None
    if by_subsets <= by_orders:
        return flipflop_law(updates)
    return uniform_law(*products(updates, all_orders(updates), there_and_back=True))


def _size(updates):
    return updates.maps(np.zeros((1, updates.samples), int)).shape[-1]


def _independent_is_exact(updates):
    groups = comb(updates.n + updates.batch_size - 1, updates.batch_size) ** updates.samples
    return 4 * _size(updates) ** 3 * groups <= EXACT_FLOPS


def _drawn(updates, batch_size):
    groups, chances = multisets(updates.n, batch_size, updates.samples)
    maps, noise = updates.at(groups)
    return uniform_law(maps, noise, chances)


def _covariances(linear: Linearised) -> Callable[[Int[np.ndarray, "k g"]], Float[np.ndarray, "k p p"]]:
    def covariances(groups):
        factor = linear.noise(groups)
        found = np.zeros((len(groups), factor.shape[1] + 1, factor.shape[1] + 1))
        found[:, :-1, :-1] = factor @ factor.mT
        return found

    return covariances
