"""Stationary expectations of scalar chains: exact on affine components, against simulation and in powers of the step
on smooth ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.numerics import local_slopes, richardson_weights

KEY = jax.random.key(5)
MULTIPLIERS = {1: (1,), 2: (1, 2), 3: (1, 2, 4)}
# F_i(x) = a_i x + b_i + c_i (1 - cos x): sum b_i = 0 puts x* at 0, and F'' = mean c_i there is not zero
A, B, C = np.array([2.0, 1.0, 3.0]), np.array([1.0, 0.5, -1.5]), np.array([0.3, -0.6, 1.2])


def bent(i, x, data):
    a, b, c = data
    return a[i] * x + b[i] + c[i] * (1 - jnp.cos(x))


SMOOTH = games.FiniteSum(bent, 3, data=(A, B, C), solution=0.0)
INTERVAL = (-2.0, 2.0)


def powers(x):
    return np.stack([x, x**2])


def expect(step_size, order, **keywords):
    method = games.GradientDescentAscent(step_size, order)
    return games.stationary_expectation(SMOOTH, method, INTERVAL, powers, **keywords)


METHODS = {
    "descent-ascent": lambda order: games.GradientDescentAscent(0.1, order),
    "extragradient": lambda order: games.Extragradient(0.1, 0.15, order),
    "batches": lambda order: games.GradientDescentAscent(0.1, order, batch_size=2),
    "two samples": lambda order: games.IndependentExtragradient(0.1, 0.15, order),
}


@pytest.mark.parametrize("order", ["independent", "reshuffle", "cyclic"])
@pytest.mark.parametrize("name", METHODS)
def test_affine_components_have_their_exact_moments(make_affine, name, order):
    game, method = make_affine(0, 5, 1), METHODS[name](order)
    shift = game.solution[0]
    found = games.stationary_expectation(game, method, (-9.0, 9.0), lambda x: np.stack([x, (x - shift) ** 2]), nodes=9)
    exact = games.stationary_moments(game, method)
    # matrices of nine nodes are exact on these polynomials: rounding alone, times 1 / (1 - contraction)
    assert np.allclose(found.value, [exact.mean[0], exact.mse], rtol=0, atol=1e-11)
    assert found.error.shape == (2,) and found.error.max() < 1e-11


@pytest.mark.parametrize("order", ["independent", "reshuffle", "cyclic"])
def test_smooth_components_against_simulation(order):
    """Independent chains that start at x*, one late value each: means within five standard errors."""
    method = games.Extragradient(0.1, 0.2, order)
    found = games.stationary_expectation(SMOOTH, method, INTERVAL, lambda x: np.stack([x, x**2, np.exp(x)]), nodes=48)
    assert found.error.max() < 1e-12

    @jax.jit
    @jax.vmap
    def late(key):
        key_init, key_steps = jax.random.split(key)
        state = method.init(SMOOTH, key_init)
        # 80 epochs forget the start: the contraction is below 0.7
        return jax.lax.scan(lambda s, k: (method.step(SMOOTH, s, k), None), state, jax.random.split(key_steps, 80))[0].x

    x = np.asarray(late(jax.random.split(KEY, 4_000)))
    samples = np.stack([x, x**2, np.exp(x)])
    errors = samples.std(axis=1) / np.sqrt(x.size)
    assert np.all(np.abs(samples.mean(axis=1) - found.value) < 5 * errors + 1e-9)


@pytest.mark.parametrize("order", ["independent", "reshuffle", "cyclic"])
def test_orders_in_the_step_size(order):
    """Biases of one, two and three step sizes, mean-square error and variance: local slopes tend to the orders with
    errors that halve with the step."""
    steps = 0.02 / 2.0 ** np.arange(6)
    mean, square = np.transpose([expect(step, order, nodes=24).value for step in steps])

    def limit(values):
        slopes = local_slopes(steps[-len(values) :], values)
        return 2 * slopes[-1] - slopes[-2]

    for points, multipliers in MULTIPLIERS.items():
        # the chain at step k's double is the entry before it
        pairs = zip(richardson_weights(multipliers), range(points), strict=True)
        bias = sum(w * mean[points - 1 - j : len(mean) - j] for w, j in pairs)
        assert abs(limit(bias) - games.convergence_orders(order, points, affine=False).bias) < 0.05
    assert abs(limit(square) - games.convergence_orders(order, affine=False).mse) < 0.05
    if order != "cyclic":
        assert abs(limit(square - mean**2) - {"independent": 1, "reshuffle": 3}[order]) < 0.05


def test_nodes_and_the_error_estimate():
    """The error falls with the nodes, and the estimate is above what more of them change."""
    best = expect(0.1, "reshuffle", nodes=40)
    errors = []
    for nodes in (6, 9, 13, 18):
        found = expect(0.1, "reshuffle", nodes=nodes)
        change = np.abs(found.value - best.value)
        assert np.all(change <= found.error)
        errors.append(change.max())
    assert np.all(np.diff(np.log(errors)) < -2)  # geometric, for analytic components
    assert errors[-1] < 1e-9 and best.error.max() < 1e-13


def test_shapes_of_x_do_not_matter():
    """One number, of any shape, in any tree, in either precision."""
    method = games.GradientDescentAscent(0.1)

    def inside(i, x, data):
        return {"x": bent(i, x["x"], data)}

    for shape in ((), (1,), (1, 1)):
        game = games.FiniteSum(inside, 3, data=(A, B, C), solution={"x": np.zeros(shape)})
        found = games.stationary_expectation(game, method, INTERVAL, powers)
        assert np.allclose(found.value, expect(0.1, "reshuffle").value, rtol=1e-12, atol=0)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), SMOOTH)
    found = games.stationary_expectation(narrow, method, INTERVAL, powers)
    # a, b, c are rounded to single precision, and all else is not
    assert found.value.dtype == np.float64 and np.allclose(found.value, expect(0.1, "reshuffle").value, atol=1e-6)


def test_probabilities():
    method = games.GradientDescentAscent(0.1, "independent")
    one = games.stationary_expectation(SMOOTH, method, INTERVAL, np.ones_like)
    assert abs(one.value - 1) < 1e-14
    # without noise all mass is at the solution
    quiet = games.FiniteSum(lambda i, x: x + x**3 / 9, 3)
    found = games.stationary_expectation(quiet, method, (-1.0, 2.0), powers)
    assert np.abs(found.value).max() < 1e-13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": (-0.05, 0.05)}, r"interval = \(-0.05, 0.05\) is left: .* component \d takes \S+ to \S+: take"),
        ({"interval": (1.0, -1.0)}, r"two finite numbers, the lower first"),
        ({"interval": (0.0, np.inf)}, r"two finite numbers"),
        ({"nodes": 5}, r"nodes = 5 must be at least 6"),
        ({"function": np.sum}, r"function\(x\) has the shape \(\) for x of \(32,\)"),
        ({"method": "extragradient"}, r"method is a str"),
        ({"method": games.OptimisticGradient(0.1)}, r"OptimisticGradient, whose state is more than x"),
        ({"method": games.GradientDescentAscent(0.1, noise_site="iterate")}, r"noise_site = 'iterate'"),
        ({"method": games.GradientDescentAscent(lambda t: 0.1)}, r"follow a schedule"),
        ({"method": games.GradientDescentAscent(0.1, "once")}, r"order = 'once' is not one of .*'cyclic' on permuted"),
        ({"method": games.GradientDescentAscent(0.1, "flipflop")}, r"order = 'flipflop' is not one of"),
        ({"game": games.FiniteSum(lambda i, x: x, 17)}, r"n = 17 is above 16"),
        ({"game": games.AffineGame(np.eye(2)[None], np.zeros((1, 2)))}, r"an x of 2 numbers"),
        ({"game": "game"}, r"game is a str"),
    ],
)
def test_bad_input(change, message):
    method = games.GradientDescentAscent(0.1)
    given = {"game": SMOOTH, "method": method, "interval": INTERVAL, "function": powers} | change
    with pytest.raises(ValueError, match=message):
        games.stationary_expectation(**given)
