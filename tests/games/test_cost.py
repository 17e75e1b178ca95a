"""What a sweep of an epoch method costs: memory of the compiled program, and nothing but products in its inner loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.engine import Record, every
from theorylab.engine._disk.grid import Rectangle
from theorylab.engine._sweep.plan import Plan
from theorylab.engine._sweep.request import Request

N, D, LANES, SEEDS, STEPS = 20, 32, 16, 16, 40


@pytest.fixture(scope="module")
def block():
    rng = np.random.default_rng(0)
    game = games.AffineGame(np.eye(D) + rng.normal(size=(N, D, D)) / D, rng.normal(size=(N, D)))

    def build(key, *, step_size):
        return games.Richardson(games.Extragradient(step_size, 2 * step_size)), game, jnp.zeros(D)

    record = Record(every(4), error=lambda game, state: jnp.sum((state.x - game.solution) ** 2))
    over = {"step_size": np.geomspace(1e-4, 1e-3, LANES)}
    request = Request.of(build, over, SEEDS, jax.random.key(0), STEPS, record)
    (group,) = Plan(request, mesh=jax.devices()[:1]).groups
    return group.begin(Rectangle(0, SEEDS, 0, LANES), (SEEDS, LANES))


def test_memory_is_the_data_and_twice_the_lanes(block):
    """Data, the record, what the lanes carry twice (once moving, once being written), and one seed's scratch: its own
    lanes three times and the matrix at hand."""

    def size(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    lanes, rows = size((block.carry.state, block.carry.lane)), size(block.carry.rows)
    matrix = D * D * 8
    scratch = 3 * (lanes + rows) / SEEDS + matrix
    assert block.program()[1].bytes <= size(block.arrays) + 2 * (lanes + rows) + scratch + 4096  # keys, counters


def bodies(eqn):
    values = [v for value in eqn.params.values() for v in (value if isinstance(value, tuple | list) else [value])]
    return [body for body in (getattr(v, "jaxpr", v) for v in values) if hasattr(body, "eqns")]


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for body in bodies(eqn):
            yield from equations(body)


def inner_loops(jaxpr):
    """The bodies of the loops that hold no other loop."""
    loops = [eqn for eqn in equations(jaxpr) if eqn.primitive.name in ("scan", "while")]
    nested = [{e.primitive.name for body in bodies(loop) for e in equations(body)} for loop in loops]
    return [bodies(loop)[-1] for loop, inside in zip(loops, nested, strict=True) if not inside & {"scan", "while"}]


def test_the_permutation_is_drawn_before_the_inner_loop(block):
    """The loop over components multiplies: no sort, no draw; the two chains and all lanes are one product each."""
    jaxpr = block.program()[1].jaxpr
    assert "sort" in {eqn.primitive.name for eqn in equations(jaxpr)}
    updates = [body for body in inner_loops(jaxpr) if any(e.primitive.name == "dot_general" for e in equations(body))]
    assert len(updates) == 1
    found = list(equations(updates[0]))
    assert not {"sort", "random_bits", "threefry2x32", "random_fold_in"} & {eqn.primitive.name for eqn in found}
    products = [eqn.outvars[0].aval.size for eqn in found if eqn.primitive.name == "dot_general"]
    assert products and set(products) == {D * 2 * LANES}
