"""Index tables: valid, drawn from the key alone, and the same in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.games import orders

KEY = jax.random.key(3)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_epoch_visits_each_component_once(n):
    kept = orders.fixed("once", KEY, n)
    for order in ("reshuffle", "once", "cyclic"):
        table = orders.table(order, KEY, n, kept)
        assert table.shape == (n,) and table.dtype == jnp.int32
        assert sorted(table.tolist()) == list(range(n))


def test_what_depends_on_the_key():
    keys = jax.random.split(KEY, 2)
    kept = orders.fixed("once", KEY, 20)
    tables = {order: [orders.table(order, key, 20, kept).tolist() for key in keys] for order in orders.ORDERS}
    assert tables["once"][0] == tables["once"][1] == kept.tolist()
    assert tables["cyclic"][0] == tables["cyclic"][1] == list(range(20))
    assert tables["reshuffle"][0] != tables["reshuffle"][1]
    assert tables["independent"][0] != tables["independent"][1]
    for order in ("independent", "reshuffle", "cyclic"):
        assert orders.fixed(order, KEY, 20) is None


def test_draws_are_uniform():
    """Each index at each place equally often: chi-square with n(n-1) and (n-1)^2 degrees of freedom, at five s.d."""
    n, draws = 4, 4000
    keys = jax.random.split(KEY, draws)
    for order, degrees in (("independent", n * (n - 1)), ("reshuffle", (n - 1) ** 2)):
        tables = np.asarray(jax.vmap(lambda key, order=order: orders.table(order, key, n))(keys))
        counts = np.stack([np.bincount(tables[:, place], minlength=n) for place in range(n)])
        chi_square = np.sum((counts - draws / n) ** 2) / (draws / n)
        # for permutations sum (count - mean)^2 / mean is chi-square times n/(n-1)
        scale = 1.0 if order == "independent" else n / (n - 1)
        assert abs(chi_square / scale - degrees) < 5 * np.sqrt(2 * degrees)


def test_same_draws_in_both_precisions():
    wide = [orders.table(order, KEY, 9).tolist() for order in ("independent", "reshuffle")]
    with jax.enable_x64(False):
        narrow = [orders.table(order, KEY, 9).tolist() for order in ("independent", "reshuffle")]
    assert wide == narrow


def test_unknown_order():
    with pytest.raises(ValueError, match="'once', 'cyclic', 'flipflop', 'repeat': did you mean 'reshuffle'"):
        orders.check("reshuffled")
    with pytest.raises(ValueError, match="choose one of them"):
        orders.check("zzz")
    with pytest.raises(TypeError, match=r"order must be 'independent' or .*, got 'zzz'"):
        orders.table("zzz", KEY, 3)
    with pytest.raises(ValueError, match="fixed"):
        orders.table("once", KEY, 3)


@pytest.mark.parametrize("order", orders.ORDERS)
def test_groups_of_one_are_the_table(order):
    kept = orders.fixed(order, KEY, 5)
    (block,) = orders.groups(order, KEY, 5, kept)
    assert np.array_equal(block[:, 0], orders.table(order, KEY, 5, kept))
    if order == "flipflop":
        assert np.array_equal(block, block[::-1]) and sorted(block[:5, 0].tolist()) == list(range(5))


@pytest.mark.parametrize(("batch_size", "samples"), [(2, 1), (3, 1), (7, 1), (1, 2), (3, 2)])
def test_groups_cut_passes_and_drop_nothing(batch_size, samples):
    """Each pass visits every component once; only the last group may be smaller; flip-flop returns the way it came."""
    n = 7
    there = orders.groups("reshuffle", KEY, n, batch_size=batch_size, samples=samples)
    sequence = np.concatenate([np.ravel(block) for block in there])
    for turn in np.split(sequence, samples):
        assert sorted(turn.tolist()) == list(range(n))
    sizes = [block.shape[1] for block in there for _ in block]
    assert set(sizes[:-1]) <= {samples * batch_size} and sum(sizes) == samples * n
    assert sizes[-1] == (samples * n - 1) % (samples * batch_size) + 1

    both = [group for block in orders.groups("flipflop", KEY, n, batch_size=batch_size, samples=samples)
            for group in np.asarray(block).tolist()]  # fmt: skip
    assert both[: len(both) // 2] == [group for block in there for group in np.asarray(block).tolist()]
    assert both == both[::-1]
