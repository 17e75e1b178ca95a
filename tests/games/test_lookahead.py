"""The Optax form is extragradient to rounding, and trains a small GAN in Equinox and Flax where plain steps fail."""

import pathlib
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import theorylab as tl
from theorylab import games
from theorylab.games import orders

KEY = jax.random.key(8)
GAME = games.quadratic_game(KEY, components=5, dim=2, mu=1.0, lipschitz=4.0)
X0 = GAME.solution + 1
GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "extragradient_in_training.md"


def loop(optimiser, game, x, key, epochs, order="reshuffle", batch_size=1):
    """A Python training loop on a game's components."""

    @jax.jit
    def step(x, state, index):
        def operator(x):
            return jnp.mean(jax.vmap(game.component, (0, None))(index, x), axis=0)

        updates, state = optimiser.update(operator(x), state, x, operator=operator)
        return optax.apply_updates(x, updates), state

    state = optimiser.init(x)
    for epoch in range(epochs):
        for index in games.batches(key, game.n, batch_size, order=order, epoch=epoch):
            x, state = step(x, state, index)
    return x


@pytest.mark.parametrize("order", ["reshuffle", "flipflop"])
def test_with_sgd_it_is_extragradient_on_the_draws_of_solve(order, dtype, cast):
    """To rounding, in minibatches of two of five, the last of one."""
    game = cast(GAME, dtype)
    optimiser = games.extragradient_optimiser(optax.sgd(0.05), lookahead=optax.sgd(0.1))
    mine = loop(optimiser, game, X0.astype(dtype), KEY, 4, order, batch_size=2)
    method = games.Extragradient(0.05, 0.1, order, batch_size=2)
    expected = tl.solve(method, game, X0.astype(dtype), key=KEY, steps=4).value
    assert mine.dtype == dtype
    # rounding of at most 24 contracting updates of entries up to ten
    assert jnp.allclose(mine, expected, rtol=0, atol=500 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("order", orders.ORDERS)
def test_batches_are_the_draws_of_solve(order):
    """x -> 2 x + i spells the indices out, in order: an update with step 1 of the component -x - i."""
    spell = games.FiniteSum(lambda i, x: -x - i.astype(x.dtype), 5)
    x = 1.0
    for epoch in range(2):
        for (index,) in games.batches(KEY, 5, order=order, epoch=epoch):
            x = 2 * x + index
    found = tl.solve(games.GradientDescentAscent(1.0, order), spell, jnp.asarray(1.0), key=KEY, steps=2).value
    assert float(found) == x


def test_batches_of_an_epoch():
    """Each index once, in groups; another epoch, other groups; the same epoch, the same."""
    first, again, second = (list(games.batches(KEY, 10, 4, epoch=epoch)) for epoch in (0, 0, 1))
    assert [len(index) for index in first] == [4, 4, 2] and first[0].dtype == np.int32
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(10))
    assert np.array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_extra_adam(standard_promotion):
    """Without a look-ahead of its own, Adam's moments advance at both points: algorithm 4 of Gidel et al., by hand."""
    rate, b1, b2, eps = 0.1, 0.5, 0.9, 1e-8
    matrix = np.asarray([[0.2, 1.0], [-1.0, 0.1]])
    optimiser = games.extragradient_optimiser(optax.adam(rate, b1, b2, eps))
    x, state = jnp.asarray([2.0, -1.0]), optimiser.init(jnp.asarray([2.0, -1.0]))
    by_hand, first, second, count = np.asarray(x), np.zeros(2), np.zeros(2), 0

    def operator(x):
        return jnp.asarray(matrix) @ x

    for _ in range(5):
        updates, state = optimiser.update(operator(x), state, x, operator=operator)
        x = optax.apply_updates(x, updates)
        point = by_hand
        for _ in range(2):
            force, count = matrix @ point, count + 1
            first, second = b1 * first + (1 - b1) * force, b2 * second + (1 - b2) * force**2
            move = first / (1 - b1**count) / (np.sqrt(second / (1 - b2**count)) + eps)
            point = by_hand - rate * move
        by_hand = point
    assert np.allclose(x, by_hand, rtol=0, atol=1e-13)


def test_contraction_of_the_bilinear_game():
    """|x+|^2 = ((1 - g1 g2)^2 + g1^2) |x|^2 on u v, where plain steps give 1 + g1^2."""
    operator = games.descent_ascent(lambda u, v: u * v)
    x = jnp.asarray(0.6), jnp.asarray(0.8)
    for optimiser, factor in (
        (games.extragradient_optimiser(optax.sgd(0.1), optax.sgd(0.4)), (1 - 0.04) ** 2 + 0.01),
        (optax.with_extra_args_support(optax.sgd(0.1)), 1.01),
    ):
        updates, _ = optimiser.update(operator(x), optimiser.init(x), x, operator=operator)
        assert sum(leaf**2 for leaf in optax.apply_updates(x, updates)) == pytest.approx(factor, rel=1e-14)


def test_it_composes_with_optax():
    """Inside a chain, around clipping, and with a rate for each player."""
    operator = games.descent_ascent(lambda u, v: u * v)
    x = jnp.asarray(3.0), jnp.asarray(4.0)
    players = optax.multi_transform({"u": optax.sgd(0.1), "v": optax.sgd(0.5)}, ("u", "v"))
    for optimiser, expected in (
        (optax.chain(games.extragradient_optimiser(optax.sgd(0.1)), optax.scale(2.0)), (2 * -0.43, 2 * 0.26)),
        (games.extragradient_optimiser(players), (-0.1 * 5.5, 0.5 * 2.6)),
        # both values are clipped to norm 1: (4, -3) to (0.8, -0.6), then (4.06, -2.92) / 5.001
        (
            games.extragradient_optimiser(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))),
            np.asarray([-0.406, 0.292]) / np.hypot(4.06, 2.92),
        ),
    ):
        updates, _ = optimiser.update(operator(x), optimiser.init(x), x, operator=operator)
        assert np.allclose(updates, expected, rtol=1e-13)


def test_gradients_through_an_update():
    """An update is differentiable: d/dx of x - g (J (x - g J x)) is I - g J + g^2 J^2."""
    matrix = jnp.asarray([[0.5, 2.0], [-2.0, 1.0]])
    optimiser = games.extragradient_optimiser(optax.sgd(0.1))

    def update(x):
        updates, _ = optimiser.update(matrix @ x, optimiser.init(x), x, operator=lambda x: matrix @ x)
        return optax.apply_updates(x, updates)

    expected = jnp.eye(2) - 0.1 * matrix + 0.01 * matrix @ matrix
    assert jnp.allclose(jax.jacobian(update)(jnp.ones(2)), expected, rtol=1e-13)


def test_bad_calls():
    optimiser = games.extragradient_optimiser(optax.sgd(0.1))
    x = jnp.ones(2)
    state = optimiser.init(x)
    with pytest.raises(ValueError, match="operator is missing: pass"):
        optimiser.update(x, state, x)
    with pytest.raises(ValueError, match="params is None"):
        optimiser.update(x, state, operator=lambda x: x)
    with pytest.raises(ValueError, match="operator gives"):
        optimiser.update(x, state, x, operator=lambda x: (x, x))


@pytest.mark.parametrize("batch_size", [0, 6, True])
def test_bad_batches(batch_size):
    with pytest.raises(ValueError, match=f"batch_size = {batch_size}"):
        games.batches(KEY, 5, batch_size, epoch=0)
    with pytest.raises(TypeError, match=r"order must be 'independent' or .*, got 'reshuffel'"):
        games.batches(KEY, 5, order="reshuffel", epoch=0)


def blocks():
    return re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(code, names):
    exec(compile(code, str(GUIDE), "exec"), names)
    return np.asarray(names["fake"], float), np.asarray(names["real"], float)


def standard_errors(fake, real):
    """How far the generator's mean and covariance are from the sample's, in standard errors of the sample's own."""
    deviations = real - real.mean(axis=0)
    products = np.einsum("nj,nk->njk", deviations, deviations)
    mean = np.abs(fake.mean(axis=0) - real.mean(axis=0)) / (real.std(axis=0) / np.sqrt(len(real)))
    covariance = np.abs(np.cov(fake.T) - np.cov(real.T)) / (products.std(axis=0) / np.sqrt(len(real)))
    return mean.max(), covariance.max()


@pytest.fixture
def plain_jax(standard_promotion):
    """As users have it who have set nothing."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("framework", ["equinox", "flax"])
def test_the_guide(framework, plain_jax):
    """Its loops learn the sample's moments; with the three lines as they were, and twice the epochs, they do not."""
    setup, *loops = blocks()
    assert len(loops) == 2
    code = loops[framework == "flax"]
    plain, changes = re.subn(r"^( *)# was: (.*)\n.*\n", r"\1\2\n", code, flags=re.MULTILINE)
    assert changes == 3
    names = {}
    exec(compile(setup, str(GUIDE), "exec"), names)
    mean, covariance = standard_errors(*run(code, dict(names)))
    assert mean < 1 and covariance < 1
    fake, real = run(plain, names | {"epochs": 2 * names["epochs"]})
    assert not standard_errors(fake, real)[1] < 3  # or not finite


def test_frameworks_give_the_same_numbers_from_the_same_weights(plain_jax):
    """Five epochs in float32, to the rounding of 40 updates of entries of order one."""
    names = {}
    exec(compile(blocks()[0], str(GUIDE), "exec"), names)
    features = names["features"]
    kernel_u, kernel_v = (0.5 * jax.random.normal(jax.random.key(s), (d, k)) for s, d, k in ((1, 2, 2), (2, 5, 1)))
    bias = jnp.asarray([0.1, -0.2])

    def of_equinox():
        u, v = eqx.nn.Linear(2, 2, key=KEY), eqx.nn.Linear(5, 1, use_bias=False, key=KEY)
        u = eqx.tree_at(lambda m: (m.weight, m.bias), u, (kernel_u.T, bias))
        v = eqx.tree_at(lambda m: m.weight, v, kernel_v.T)
        return (u, v), lambda u, x: jax.vmap(u)(x), lambda v, y: jax.vmap(v)(y)

    def of_nnx():
        graphs, states = zip(
            nnx.split(nnx.Linear(2, 2, rngs=nnx.Rngs(0))),
            nnx.split(nnx.Linear(5, 1, use_bias=False, rngs=nnx.Rngs(0))),
            strict=True,
        )
        weights = {"bias": bias, "kernel": kernel_u}, {"kernel": kernel_v}
        players = tuple(
            jax.tree.unflatten(jax.tree.structure(s), jax.tree.leaves(w)) for s, w in zip(states, weights, strict=True)
        )
        return players, lambda u, x: nnx.merge(graphs[0], u)(x), lambda v, y: nnx.merge(graphs[1], v)(y)

    def of_linen():
        players = {"params": {"bias": bias, "kernel": kernel_u}}, {"params": {"kernel": kernel_v}}
        return players, linen.Dense(2).apply, linen.Dense(1, use_bias=False).apply

    def train(players, generator, critic):
        @games.descent_ascent
        def gradients(u, v, real, noise):
            fake = generator(u, noise)
            return jnp.mean(critic(v, features(real))) - jnp.mean(critic(v, features(fake)))

        optimiser = games.extragradient_optimiser(optax.sgd(0.1), optax.sgd(0.2))
        state = optimiser.init(players)

        @eqx.filter_jit
        def step(players, state, real, noise):
            def operator(players):
                return gradients(players, real, noise)

            updates, state = optimiser.update(operator(players), state, players, operator=operator)
            return eqx.apply_updates(players, updates), state

        for epoch in range(5):
            for index in games.batches(KEY, names["n"], 32, epoch=epoch):
                players, state = step(players, state, names["real"][index], names["noise"][index])
        return np.asarray(generator(players[0], names["noise"]))

    equinox, in_nnx, in_linen = (train(*make()) for make in (of_equinox, of_nnx, of_linen))
    assert equinox.dtype == np.float32
    for other in (in_nnx, in_linen):
        assert np.allclose(equinox, other, rtol=0, atol=1000 * np.finfo(np.float32).eps)
