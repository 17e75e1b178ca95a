"""Descent-ascent and extragradient: closed forms, limits, the four orders, and JAX's transformations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from theorylab import games
from theorylab.games import orders

KEY = jax.random.key(5)
TURN = games.AffineGame(jnp.asarray([[[0.0, 1.0], [-1.0, 0.0]]]), jnp.zeros((1, 2)))  # the payoff u v


@eqx.filter_jit
def run(method, problem, x0, key, epochs):
    key_init, key_steps = jax.random.split(key)

    def one(state, t):
        state = method.step(problem, state, jax.random.fold_in(key_steps, t))
        return state, state.x

    return lax.scan(one, method.init(problem, key_init, x0), jnp.arange(epochs))[1]


def methods(step_size, extrapolation_step):
    for order in orders.ORDERS:
        yield games.GradientDescentAscent(step_size, order)
        yield games.Extragradient(step_size, extrapolation_step, order)


def by_hand(matrices, offsets, x, g1, g2, indices):
    for i in indices:
        ahead = x - g2 * (matrices[i] @ x + offsets[i])
        x = x - g1 * (matrices[i] @ ahead + offsets[i])
    return x


@pytest.mark.parametrize("order", orders.ORDERS)
def test_an_epoch_is_n_updates_in_the_order_drawn(make_affine, cast, dtype, order):
    game = cast(make_affine(0, 6, 3), dtype)
    method = games.Extragradient(0.07, 0.11, order)
    state = method.init(game, KEY, jnp.asarray([1.0, -2.0, 0.5], dtype))
    keys = jax.random.split(KEY, 3)
    x = np.asarray(state.x, float)
    for key in keys:
        indices = np.asarray(orders.table(order, key, 6, state.kept))
        x = by_hand(*(np.asarray(leaf, float) for leaf in (game.matrices, game.offsets)), x, 0.07, 0.11, indices)
        state = eqx.filter_jit(method.step)(game, state, key)
    assert state.x.dtype == dtype
    # 18 contracting updates of a few roundings each
    assert np.allclose(state.x, x, rtol=0, atol=100 * float(jnp.finfo(dtype).eps) * np.abs(x).max())


def test_bilinear_toy_exactly():
    """|x+|^2 = ((1 - g1 g2)^2 + g1^2) |x|^2 for extragradient and (1 + g^2) |x|^2 for descent-ascent on u v."""
    x = jnp.asarray([0.6, -1.1])
    for g1, g2 in ((0.1, 0.4), (0.3, 0.3), (0.9, 0.2)):
        for method, factor in (
            (games.Extragradient(g1, g2), (1 - g1 * g2) ** 2 + g1**2),
            (games.GradientDescentAscent(g1), 1 + g1**2),
        ):
            ratio = jnp.sum(run(method, TURN, x, KEY, 1)[0] ** 2) / jnp.sum(x**2)
            assert abs(float(ratio) - factor) < 1e-15 * 4
    assert pytest.approx(1 - 7 * 0.1**2 + 16 * 0.1**4, rel=1e-15) == (1 - 0.1 * 0.4) ** 2 + 0.1**2  # g2 = 4 g1


@pytest.mark.parametrize("order", orders.ORDERS)
@pytest.mark.parametrize("n", [1, 5])
def test_no_extrapolation_is_descent_ascent(make_affine, cast, dtype, order, n):
    game = cast(make_affine(1, n, 4), dtype)
    x0 = jnp.asarray([1.0, 0.1, -0.2, 3.0], dtype)
    a = run(games.Extragradient(0.03, 0, order), game, x0, KEY, 4)
    b = run(games.GradientDescentAscent(0.03, order), game, x0, KEY, 4)
    assert np.allclose(a, b, rtol=0, atol=rounding(a, 4 * 2 * n))


def rounding(x, updates):
    """Two programs apart: some roundings of the largest entry in each update, which hardly grow in so few."""
    return 8 * updates * float(jnp.finfo(x.dtype).eps) * float(jnp.abs(x).max())


def test_equal_components_leave_no_order(make_affine):
    game = make_affine(2, 1, 3)
    copies = games.AffineGame(jnp.repeat(game.matrices, 5, axis=0), jnp.repeat(game.offsets, 5, axis=0))
    x0 = jnp.asarray([1.0, 2.0, 3.0])
    alone = run(games.Extragradient(0.05, 0.1, "cyclic"), game, x0, KEY, 15)[4::5]
    for order in orders.ORDERS:
        epochs = 3 if order != "flipflop" else 1  # of ten updates
        found = run(games.Extragradient(0.05, 0.1, order), copies, x0, KEY, epochs)
        expected = alone[2 if order != "flipflop" else 1]
        assert np.allclose(found[-1], expected, rtol=0, atol=rounding(alone, 15))


def test_a_noiseless_solution_stays_put(make_affine):
    """With F_i(x*) = 0 for each i, x* is a fixed point: sigma_* = 0."""
    matrices = make_affine(3, 4, 2).matrices
    game = games.AffineGame(matrices, jnp.zeros((4, 2)))
    for method in methods(0.1, 0.2):
        assert np.array_equal(run(method, game, game.solution, KEY, 3), np.zeros((3, 2)))


def test_what_the_orders_share(make_affine):
    """One key gives one table whatever the step size; cyclic does not ask the key; once keeps its permutation."""
    game = make_affine(4, 5, 2)
    x0 = jnp.ones(2)
    for order in orders.ORDERS:
        small, large = (games.Extragradient(s, s, order).init(game, KEY, x0) for s in (0.01, 0.1))
        assert (small.kept is None) == (order != "once")
        assert small.kept is None or np.array_equal(small.kept, large.kept)
    cyclic = games.Extragradient(0.1, 0.1, "cyclic")
    assert np.array_equal(run(cyclic, game, x0, KEY, 2), run(cyclic, game, x0, jax.random.key(99), 2))
    once = games.Extragradient(0.1, 0.1, "once")
    state = once.init(game, KEY, x0)
    after = once.step(game, state, KEY)
    assert np.array_equal(after.kept, state.kept)
    assert np.array_equal(after.x, once.step(game, state, jax.random.key(99)).x)


def test_pytrees_follow_the_affine_game(make_affine, dtype, cast):
    game = cast(make_affine(5, 4, 3), dtype)

    def component(i, x, data):
        value = data.component(i, jnp.concatenate([x["u"], x["v"][None]]))
        return {"u": value[:2], "v": value[2]}

    tree = games.FiniteSum(component, 4, data=game)
    x0 = jnp.asarray([1.0, -1.0, 2.0], dtype)
    for method in (games.GradientDescentAscent(0.05), games.Extragradient(0.05, 0.1, "once")):
        flat = run(method, game, x0, KEY, 2)
        found = run(method, tree, {"u": x0[:2], "v": x0[2]}, KEY, 2)
        assert found["u"].dtype == dtype
        together = jnp.concatenate([found["u"], found["v"][:, None]], axis=1)
        assert np.allclose(together, flat, rtol=0, atol=50 * float(jnp.finfo(dtype).eps))


def test_lanes_are_runs(make_affine):
    game = make_affine(6, 5, 3)
    steps = jnp.asarray([0.01, 0.05, 0.1])
    x0 = jnp.asarray([1.0, -1.0, 2.0])

    def build(s):
        return games.Extragradient(s, 2 * s)

    lanes = jax.vmap(lambda s: run(build(s), game, x0, KEY, 3))(steps)
    for k, s in enumerate(steps):
        assert np.allclose(lanes[k], run(build(s), game, x0, KEY, 3), rtol=1e-13, atol=0)
    seeds = jax.vmap(lambda key: run(build(0.05), game, x0, key, 3))(jax.random.split(KEY, 2))
    assert np.allclose(seeds[1], run(build(0.05), game, x0, jax.random.split(KEY, 2)[1], 3), rtol=1e-13, atol=0)


def test_gradient_in_the_step_sizes(make_affine):
    """The derivative of the end point, against central differences (their error h^2 and rounding 1e-16/h)."""
    game = make_affine(7, 3, 2)

    def end(steps):
        return jnp.sum(run(games.Extragradient(steps[0], steps[1]), game, jnp.ones(2), KEY, 2)[-1] ** 2)

    steps, h = jnp.asarray([0.05, 0.1]), 1e-5
    differences = [(end(steps + h * e) - end(steps - h * e)) / (2 * h) for e in jnp.eye(2)]
    assert np.allclose(jax.grad(end)(steps), differences, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_step_sizes(value):
    with pytest.raises(ValueError, match=rf"GradientDescentAscent: step_size = {value} must be positive"):
        games.GradientDescentAscent(value)
    with pytest.raises(ValueError, match=rf"Extragradient: step_size = {value} must be positive"):
        games.Extragradient(value, 0.1)
    if value != 0:
        with pytest.raises(ValueError, match=rf"extrapolation_step = {value} must be finite and >= 0"):
            games.Extragradient(0.1, value)


def test_bad_order_and_bad_start(make_affine):
    with pytest.raises(ValueError, match="did you mean 'cyclic'"):
        games.GradientDescentAscent(0.1, "cycle")
    game = make_affine(8, 2, 3)
    with pytest.raises(ValueError, match=r"x0 of the shapes \(2,\)"):
        games.Extragradient(0.1, 0.1).init(game, KEY, jnp.zeros(2))
