"""One large problem over eight devices: the values of one device, and no more words between devices than promised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from theorylab import diffusion, games, lowrank

KEY = jax.random.key(0)
MESH = Mesh(jax.devices(), "data")


@pytest.fixture(scope="module")
def guide(guide_blocks, run_block):
    """The names of the guide's blocks and what each block printed."""
    names = {}
    return names, [run_block(block, names).split("\n")[:-1] for block in guide_blocks("one_large_problem")]


@pytest.fixture(scope="module")
def compiled(guide):
    """A function compiled for its arguments, and the kinds of collectives in it by the guide's own count."""

    def compiled(fn, *args):
        program = jax.jit(fn).lower(*args).compile()
        return program, [kind for _, kind in guide[0]["collectives"](program)]

    return compiled


def place(tree, size):
    """Arrays with `size` rows by rows, everything else whole on each device."""

    def put(leaf):
        axes = [n == size for n in leaf.shape]
        spec = PartitionSpec(*[None] * axes.index(True), "data") if any(axes) else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(MESH, spec))

    return jax.tree.map(put, tree)


def assert_rounding(found, expected, roundings):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=roundings * jnp.finfo(b.dtype).eps * scale, strict=True)


def test_the_guide_says_what_happens(guide):
    assert jax.device_count() == 8
    setup, loss, training, sensing, affine, own = guide[1]
    assert (setup, loss[0], affine) == ([], "1", ["1"])
    assert abs(float(loss[1])) < 1e-5  # single precision, a sum of 8,192 squares of order one
    assert 0 < float(training[0]) < 1  # what predicts nothing has the loss one
    counts, error = sensing
    assert counts == "0 1" and float(error) < 1e-5  # single precision, well conditioned
    assert own[0] == "[('f32[10]{0}', 'all-reduce')]" and float(own[1]) < 1e-5


def test_the_denoising_loss_and_its_gradient(compiled):
    schedule = diffusion.Schedule.linear_alpha(0.98, 0.95, 10)
    model = diffusion.SoftmaxAttention(0.3 * jnp.eye(3), -jnp.eye(3), jnp.eye(3))
    x0 = jax.random.normal(KEY, (40, 5, 3))

    @jax.value_and_grad
    def step(model, x0):
        levels = {"noise": "counter", "levels": "stratified"}
        return diffusion.denoising_loss(model, x0, schedule, key=KEY, block=None, **levels)

    program, kinds = compiled(step, model, sharded := place(x0, 40))
    assert kinds == ["all-reduce"]
    assert_rounding(program(model, sharded), jax.jit(step)(model, x0), 100)  # 600 terms of order one, in another order


@pytest.mark.parametrize("name", ["RankOneSensing", "EntrySampling"])
def test_measurements_by_rows(compiled, name):
    operator = getattr(lowrank, name)(KEY, (7, 9), 40)
    y = jnp.linspace(-1.0, 1.0, 40)
    spread, spread_y = place(operator, 40), place(y, 40)
    assert compiled(lambda operator, X: operator.apply(X), spread, jnp.ones((7, 9)))[1] == []
    adjoint, kinds = compiled(lambda operator, y: operator.adjoint(y), spread, spread_y)
    assert kinds == ["all-reduce"]
    assert_rounding(adjoint(spread, spread_y), operator.adjoint(y), 100)


def test_a_step_on_measurements_by_rows(compiled):
    operator = lowrank.GaussianSensing(KEY, (6, 5), 160)
    problem = lowrank.SensingProblem(operator, jnp.linspace(-1.0, 1.0, 160), minimum=0.1)
    method = lowrank.PreconditionedSubgradient(1e-2)

    def step(problem):
        state = method.init(problem, KEY, (jnp.ones((6, 2)), jnp.eye(5, 2)))
        return method.step(problem, state, KEY).x

    program, kinds = compiled(step, spread := place(problem, 160))
    assert kinds == ["all-reduce"]
    assert_rounding(program(spread), jax.jit(step)(problem), 1000)


def test_an_affine_game_by_components(compiled):
    noise = jax.random.normal(KEY, (24, 4, 5))
    game = games.AffineGame(jnp.eye(4)[None] + 0.1 * noise[:, :, :4], noise[:, :, 4])
    x, spread = jnp.ones(4), place(game, 24)
    program, kinds = compiled(lambda game, x: game.operator(x), spread, x)
    assert kinds == ["all-reduce"]
    assert_rounding(program(spread, x), game.operator(x), 100)


def test_components_of_ones_own(compiled):
    """Each device's part of the game is a game, and the mean of their operators the whole one: for gradients too."""

    def payoff(u, v, i, data):
        matrices, offsets = data
        return jnp.vdot(u, matrices[i] @ v) + jnp.vdot(offsets[i], u) + jnp.vdot(u, u) - jnp.vdot(v, v)

    data = jax.random.normal(KEY, (24, 2, 3)), jnp.ones((24, 2))
    x = jnp.ones(2), jnp.arange(3.0)
    by_rows, whole = PartitionSpec("data"), PartitionSpec()

    @jax.shard_map(mesh=MESH, in_specs=(by_rows, whole), out_specs=whole, check_vma=False)
    def operator(data, x):
        return jax.lax.pmean(games.min_max(payoff, 3, data=data).operator(x), "data")

    program, kinds = compiled(operator, spread := place(data, 24), x)
    assert kinds == ["all-reduce"]
    assert_rounding(program(spread, x), games.min_max(payoff, 24, data=data).operator(x), 100)
