"""Epochs as random affine maps: recursions and closed forms against the enumeration of all orders."""

from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary import commuting, laws, subsets
from theorylab.games.stationary.updates import Updates, affine_epoch

P = 3
"""Size of the homogeneous maps."""
CASES = [(1, 1, 1), (4, 1, 1), (5, 2, 1), (5, 3, 1), (4, 4, 1), (1, 1, 2), (2, 1, 2), (3, 1, 2), (4, 1, 2), (3, 2, 2)]
"""n, batch_size, samples: groups that divide an epoch, smaller last ones, and groups across two permutations."""


def random_updates(n, batch_size=1, samples=1, *, noise=False, shared=False):
    """Maps that depend on the mean over each sample, as updates do; of two samples the second is applied last."""
    rng = np.random.default_rng(n)
    parts = rng.standard_normal((samples, n, P, P)) / 2
    if shared:
        parts[..., :-1] = parts[:, :1, :, :-1]
    parts[..., -1, :] = np.eye(P)[-1]

    def maps(groups):
        halves = np.split(groups, samples, axis=1)
        found = [part[half].mean(axis=1) for part, half in zip(parts, halves, strict=True)]
        return found[0] if samples == 1 else found[1] @ found[0]

    def covariances(groups):
        found = maps(groups)
        found[:, -1] = found[:, :, -1] = 0
        return found @ found.mT

    return Updates(maps, n, batch_size, samples, covariances if noise else None)


def enumerated(updates, there_and_back):
    """E[H] and the transport from every sequence of permutations, one update after the other."""
    every = product(permutations(range(updates.n)), repeat=updates.samples)
    sequences = np.asarray([sum(passes, ()) for passes in every])
    cuts = updates.cuts() + updates.cuts()[::-1] if there_and_back else updates.cuts()
    steps = [updates.at(sequences[:, start:stop]) for start, stop in cuts]

    def mean():
        whole = np.eye(P)
        for maps, _ in steps:
            whole = maps @ whole
        return whole.mean(axis=0)

    def transport(z):
        for maps, noise in steps:
            z = maps @ z @ maps.mT + (0.0 if noise is None else z[..., -1:, -1:] * noise)
        return z.mean(axis=0)

    return mean(), transport


def symmetric(count):
    z = np.random.default_rng(0).standard_normal((count, P, P))
    return z + z.mT


def check(law, updates, there_and_back):
    mean, transport = enumerated(updates, there_and_back)
    z = symmetric(2)
    found, expected = law.transport(z), np.asarray([transport(one) for one in z])
    # rounding of products of up to 2 n maps
    assert np.allclose(law.mean, mean, rtol=0, atol=1e-13 * (1 + np.abs(mean).max()))
    assert np.allclose(found, expected, rtol=0, atol=1e-13 * (1 + np.abs(expected).max()))
    assert np.allclose(law.transport(z[0]), found[0], rtol=0, atol=1e-14 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize(("n", "batch_size", "samples"), CASES)
def test_recursions_are_the_enumeration(n, batch_size, samples, noise):
    updates = random_updates(n, batch_size, samples, noise=noise)
    check(subsets.reshuffled_law(updates), updates, False)
    check(subsets.flipflop_law(updates), updates, True)


@pytest.mark.parametrize("there_and_back", [False, True])
@pytest.mark.parametrize(("n", "batch_size", "samples"), CASES)
def test_shared_law_is_the_enumeration(n, batch_size, samples, there_and_back):
    updates = random_updates(n, batch_size, samples, shared=True)
    assert commuting.is_shared(updates)
    step = np.diag([0.5, 0.25, 0.0])
    updates = updates._replace(noise=lambda groups: np.broadcast_to(step, (len(groups), P, P)))
    check(commuting.shared_law(updates, there_and_back), updates, there_and_back)


def test_different_matrices_are_not_shared():
    for samples in (1, 2):
        assert not commuting.is_shared(random_updates(3, samples=samples))


@pytest.mark.parametrize(("n", "batch_size", "samples"), [*CASES, (10, 3, 1), (6, 2, 2)])
def test_terms_are_those_of_the_recursion(n, batch_size, samples):
    updates, calls = random_updates(n, batch_size, samples), []
    stages = [(stage, lambda z, w: calls.append(len(z)) or z) for stage in subsets._stages(updates, backwards=False)]
    # each group is equally often the last one: averages of ones are one
    assert subsets._average(np.ones(1), stages) == pytest.approx(1, abs=1e-14)
    assert sum(calls) == subsets.terms(updates)


def test_uniform_and_composed_laws():
    updates = random_updates(3, noise=True)
    maps, noise = updates.at(np.arange(3)[:, None])
    weights, z = np.asarray([0.5, 0.3, 0.2]), symmetric(1)[0]
    law = laws.uniform_law(maps, noise, weights)
    once = np.tensordot(weights, maps @ z @ maps.mT + z[-1, -1] * noise, axes=1)
    assert np.allclose(law.mean, np.tensordot(weights, maps, axes=1), rtol=0, atol=1e-15)
    assert np.allclose(law.transport(z), once, rtol=0, atol=1e-14)
    other = laws.uniform_law(maps)
    twice = laws.composed(law, 2, other)
    assert np.allclose(twice.mean, other.mean @ law.mean @ law.mean, rtol=0, atol=1e-14)
    assert np.allclose(twice.transport(z), other.transport(law.transport(once)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "batch_size", "samples"), [(3, 1, 1), (3, 2, 1), (2, 3, 1), (2, 2, 2)])
def test_multisets_are_independent_draws(n, batch_size, samples):
    updates = random_updates(n, batch_size, samples)
    groups, chances = laws.multisets(n, batch_size, samples)
    every = np.asarray(list(product(range(n), repeat=batch_size * samples)))
    assert len(groups) < len(every) or batch_size == 1
    expected = updates.maps(every).mean(axis=0)
    assert np.allclose(np.tensordot(chances, updates.maps(groups), axes=1), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("order", ["reshuffle", "flipflop"])
@pytest.mark.parametrize("kind", [games.Extragradient, games.IndependentExtragradient])
def test_products_are_epochs(make_affine, order, kind):
    """The map of an order is the epoch that the method runs under it."""
    game, key = make_affine(2, 5, 2), jax.random.key(1)
    method = kind(0.1, 0.2, order, batch_size=2)
    state = method.init(game, jax.random.key(0), jnp.asarray([1.0, 2.0]))
    blocks = games.orders.groups(order, key, 5, batch_size=2, samples=method.samples)
    indices = np.concatenate([np.asarray(block).ravel() for block in blocks])[: 5 * method.samples]
    updates = affine_epoch(game, method).updates
    epoch = laws.products(updates, indices[None], order == "flipflop")[0][0]
    z = epoch @ np.append(state.x - game.solution, 1.0)
    assert np.allclose(method.step(game, state, key).x, z[:2] + game.solution, rtol=0, atol=1e-13)
