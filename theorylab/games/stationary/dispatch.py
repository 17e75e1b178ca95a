"""Which exact law an epoch has: the choice between the ways to it, by their cost (host, float64)."""

from itertools import permutations, product
from math import comb, factorial

import numpy as np

from .commuting import commuting_law, is_shared, shared_law, spectrum
from .laws import Law, composed, multisets, products, uniform_law
from .subsets import flipflop_law, reshuffled_law, terms
from .updates import AffineEpoch, Updates

EXACT_FLOPS = 1e9
"""The most that one pass over the subsets (reshuffle), the orders (once) or the groups (independent) may cost to be
done exactly, and the most that building a law may cost (flip-flop, commuting matrices)."""
EXACT_COMPONENTS = {"reshuffle": 16, "flipflop": 16, "once": 9}
"""The most components whose subsets or orders are enumerated."""


def law_of(epoch: AffineEpoch) -> tuple[Law, int] | None:
    """Find the law whose repeats make an epoch, noise included, and their number; None beyond exact computation.

    That is the law of one update where an epoch is so many independent ones that are alike, else that of the epoch,
    once. That of the order `"once"` is the mean over its permutations.

    **Arguments**: `epoch`, from `affine_epoch`.

    **Returns** (law, repeats), or None.

    **Source**: derived here; checked against the enumeration of all orders.
    """
    updates, order = epoch.updates, epoch.order
    by_update = epoch.noise_site in ("none", "oracle_step")
    if order == "independent" and by_update and updates.n % updates.batch_size == 0:
        law = _drawn(updates, updates.batch_size)
        return None if law is None else (law, len(updates.cuts()))
    law = _plain(updates, order)
    if law is None or by_update:
        return None if law is None else (law, 1)
    added = np.zeros_like(law.mean)
    if epoch.noise_site == "iterate":
        added[:-1, :-1] = epoch.after @ epoch.after.T
    else:
        start = np.zeros_like(law.mean)
        start[-1, -1] = 1.0
        # the matrices are the same, so that these laws are exact too; an epoch that starts at 0 ends at what it adds
        drawn = [own for coordinate in epoch.by_draw() if (own := _plain(coordinate, order))]
        added[:-1, :-1] = sum(own.transport(start)[:-1, :-1] for own in drawn)
    return Law(law.mean, lambda z: law.transport(z) + z[..., -1:, -1:] * added), 1


def _plain(updates: Updates, order: str) -> Law | None:
    """The law of an epoch without the noise that is drawn once an epoch."""
    match order:
        case "independent":
            return _independent(updates)
        case "cyclic":
            return uniform_law(*products(updates, np.tile(np.arange(updates.n), updates.samples)[None]))
        case "repeat":
            return _repeated(updates)
    if is_shared(updates):
        return shared_law(updates, order == "flipflop")
    return _flipflop(updates) if order == "flipflop" else _reshuffled(updates)


def _independent(updates):
    whole, rest = divmod(updates.n, updates.batch_size)
    law = _drawn(updates, updates.batch_size)
    # the last, smaller batch has fewer groups than the others
    last = _drawn(updates, rest) if law and rest else None
    return law and composed(law, whole, *([last] if last else []))


def _drawn(updates, batch_size):
    """The law of one update with independent components."""
    p = _size(updates)
    if 4 * p**3 * comb(updates.n + batch_size - 1, batch_size) ** updates.samples > EXACT_FLOPS:
        return None
    groups, chances = multisets(updates.n, batch_size, updates.samples)
    maps, noise = updates.at(groups)
    return uniform_law(maps, noise, chances)


def _repeated(updates):
    p, n = _size(updates), updates.n
    if 2 * p**3 * n * float(n) ** updates.samples > EXACT_FLOPS:
        return None
    components = np.asarray(list(product(range(n), repeat=updates.samples)))
    return uniform_law(*products(updates, np.repeat(components, n, axis=1)))


def _reshuffled(updates):
    p, n = _size(updates), updates.n
    if n <= EXACT_COMPONENTS["reshuffle"] and 4 * p**3 * terms(updates) <= EXACT_FLOPS:
        return reshuffled_law(updates)
    if updates.samples * updates.batch_size == 1 and n**3 * p**2 <= EXACT_FLOPS:
        maps, noise = updates.at(np.arange(n)[:, None])
        common = spectrum(maps[:, :-1, :-1])
        return None if common is None else commuting_law(common, maps, noise)
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
    every = list(permutations(range(n)))
    orders = np.asarray([sum(passes, ()) for passes in product(every, repeat=updates.samples)], int)
    return uniform_law(*products(updates, orders, there_and_back=True))


def _size(updates):
    return updates.maps(np.zeros((1, updates.samples), int)).shape[-1]
