"""Epochs as random affine maps: the recursions against the enumeration of all orders."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games import laws


def enumerated(maps):
    every = laws.products(maps, np.array(list(permutations(range(len(maps))))))
    return every.mean(axis=0), lambda z: np.mean(every @ z @ every.mT, axis=0)


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_update_maps_are_the_updates(make_affine, gamma):
    game = make_affine(0, 4, 3)
    method = games.Extragradient(0.2, gamma)
    maps = laws.update_maps(game, 0.2, gamma)
    x = jnp.asarray([1.0, -2.0, 0.5])
    z = np.append(x - game.solution, 1.0)
    for i in range(4):
        moved = method.update(game, x, jnp.asarray(i)) - game.solution
        assert np.allclose(maps[i] @ z, np.append(moved, 1.0), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 1), (4, 3), (6, 2)])
def test_reshuffled_law_is_the_enumeration(make_affine, n, d):
    maps = laws.update_maps(make_affine(n, n, d), 0.2, 0.1)
    law = laws.reshuffled_law(maps)
    mean, transport = enumerated(maps)
    z = np.random.default_rng(0).standard_normal((2, d + 1, d + 1))
    z = z + z.mT
    assert np.allclose(law.mean, mean, rtol=0, atol=1e-13)
    found = law.transport(z)
    assert np.allclose(found, [transport(one) for one in z], rtol=0, atol=1e-12)
    assert np.allclose(law.transport(z[0]), found[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 3), (5, 2)])
def test_shared_law_is_the_reshuffled_one(make_affine, n, d):
    maps = laws.update_maps(make_affine(n, n, d, shared=True), 0.2, 0.1)
    shared, law = laws.shared_law(maps), laws.reshuffled_law(maps)
    z = np.random.default_rng(0).standard_normal((2, d + 1, d + 1))
    z = z + z.mT
    assert np.allclose(shared.mean, law.mean, rtol=0, atol=1e-14)
    assert np.allclose(shared.transport(z), law.transport(z), rtol=0, atol=1e-13)


def test_uniform_law_is_the_average(make_affine):
    maps = laws.update_maps(make_affine(1, 3, 2), 0.2, 0.1)
    law = laws.uniform_law(maps)
    z = np.eye(3)
    assert np.allclose(law.mean, maps.mean(axis=0), rtol=0, atol=1e-15)
    assert np.allclose(law.transport(z), np.mean(maps @ z @ maps.mT, axis=0), rtol=0, atol=1e-14)


def test_products_are_epochs(make_affine):
    """The map of an order is the epoch that the method runs under it."""
    game = make_affine(2, 5, 2)
    method = games.Extragradient(0.1, 0.2)
    state = method.init(game, jax.random.key(0), jnp.asarray([1.0, 2.0]))
    key = jax.random.key(1)
    indices = np.asarray(games.orders.table("reshuffle", key, 5))
    epoch = laws.products(laws.update_maps(game, 0.1, 0.2), indices[None])[0]
    z = epoch @ np.append(state.x - game.solution, 1.0)
    assert np.allclose(method.step(game, state, key).x, z[:2] + game.solution, rtol=0, atol=1e-13)
