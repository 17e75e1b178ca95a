"""What every epoch method shares: minibatches, two samples, memory, schedules, smoothing noise and proximal maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from theorylab import games
from theorylab.engine import solve
from theorylab.games import epochs, orders

KEY = jax.random.key(11)
X0 = jnp.asarray([1.0, -2.0, 0.5])
N = 5
EPS = float(np.finfo(float).eps)


@pytest.fixture(scope="module")
def game():
    rng = np.random.default_rng(0)
    square = rng.standard_normal((N, 3, 3))
    return games.AffineGame(square @ square.mT / 3 + np.eye(3) / 2, rng.standard_normal((N, 3)))


def by_hand(game, update, x, memory, groups):
    matrices, offsets = np.asarray(game.matrices), np.asarray(game.offsets)
    for group in groups:
        a, b = matrices[group], offsets[group]
        x, memory = update(x, memory, a, b)
    return x


def descent(x, memory, a, b):
    return x - 0.05 * (a.mean(0) @ x + b.mean(0)), memory


def same_sample(x, memory, a, b):
    ahead = x - 0.1 * (a.mean(0) @ x + b.mean(0))
    return x - 0.05 * (a.mean(0) @ ahead + b.mean(0)), memory


def halves(a, b):
    h = len(a) // 2
    return a[:h].mean(0), b[:h].mean(0), a[h:].mean(0), b[h:].mean(0)


def two_samples(x, memory, a, b):
    a1, b1, a2, b2 = halves(a, b)
    return x - 0.05 * (a2 @ (x - 0.1 * (a1 @ x + b1)) + b2), memory


def optimistic(x, memory, a, b):
    g = a.mean(0) @ x + b.mean(0)
    return x - 0.05 * (2 * g - memory), g


def hamiltonian(x, memory, a, b):
    a1, b1, a2, b2 = halves(a, b)
    return x - 0.05 / 2 * (a1.T @ (a2 @ x + b2) + a2.T @ (a1 @ x + b1)), memory


METHODS = {
    "descent-ascent": (games.GradientDescentAscent, (0.05,), descent),
    "extragradient": (games.Extragradient, (0.05, 0.1), same_sample),
    "two samples": (games.IndependentExtragradient, (0.05, 0.1), two_samples),
    "optimistic": (games.OptimisticGradient, (0.05,), optimistic),
    "Hamiltonian": (games.HamiltonianGradient, (0.05,), hamiltonian),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("order", "batch_size"), [("reshuffle", 1), ("once", 2), ("flipflop", 3), ("independent", 5)])
def test_an_epoch_is_what_it_says(game, name, order, batch_size):
    kind, steps, update = METHODS[name]
    method = kind(*steps, order, batch_size=batch_size)
    state = method.init(game, KEY, X0)
    after = eqx.filter_jit(method.step)(game, state, KEY)
    blocks = orders.groups(order, KEY, N, state.kept, batch_size=batch_size, samples=method.samples)
    groups = [np.asarray(group) for block in blocks for group in block]
    first = np.asarray(game.operator(X0))
    # some thirty updates of a few roundings each
    assert np.allclose(after.x, by_hand(game, update, np.asarray(X0), first, groups), rtol=0, atol=1000 * EPS)


def test_a_minibatch_is_the_mean_of_its_components_however_it_is_made(game):
    indices = jnp.asarray([3, 1, 1], jnp.int32)
    plain = games.FiniteSum(lambda i, x, g: g.component(i, x), N, data=game)
    mean = sum(game.component(int(i), X0) for i in indices) / 3
    for problem in (game, plain):
        assert np.allclose(epochs.minibatch(problem, indices, X0), mean, rtol=0, atol=20 * EPS)


def test_a_full_batch_is_deterministic(game):
    """With all components in each update every order without replacement is deterministic descent on the mean."""
    for order in ("reshuffle", "once", "cyclic"):
        method = games.GradientDescentAscent(0.05, order, batch_size=N)
        after = method.step(game, method.init(game, KEY, X0), KEY)
        assert np.allclose(after.x, X0 - 0.05 * game.operator(X0), rtol=0, atol=20 * EPS)


def test_independent_samples_fail_where_one_sample_settles():
    """On one bilinear component with a sign of its own, E|x+|^2 = (1 + g1^2)|x|^2 + g1^2 g2^2 |x|^2 when i and j are
    independent (their cross term has mean zero), while the same sample contracts."""
    turn = np.asarray([[0.0, 1.0], [-1.0, 0.0]])
    game = games.AffineGame([turn, -turn], np.zeros((2, 2)), solution=np.zeros(2))
    g1, g2 = 0.1, 0.4
    point = jnp.asarray([0.6, 0.8])

    def growth(kind):
        method = kind(g1, g2, "independent")
        state = method.init(game, KEY, point)
        each = jax.vmap(lambda key: jnp.sum(method.step(game, state, key).x ** 2))
        values = np.asarray(each(jax.random.split(KEY, 4096)))
        return values.mean(), values.std(ddof=1) / 64

    mean, error = growth(games.IndependentExtragradient)
    assert abs(mean - (1 + g1**2 + (g1 * g2) ** 2) ** 2) < 5 * error
    mean, _ = growth(games.Extragradient)
    assert abs(mean - ((1 - g1 * g2) ** 2 + g1**2) ** 2) < 100 * EPS


def test_schedules_count_updates(game):
    """One over (t + 2) from the first update on, in every epoch, and lanes of schedules."""
    rule = games.Power(1.0, 1.0, 2.0)
    method = games.GradientDescentAscent(rule, "cyclic")
    solution = solve(method, game, X0, key=KEY, steps=3)
    x = np.asarray(X0)
    for t in range(3 * N):
        x = x - (np.asarray(game.matrices[t % N]) @ x + np.asarray(game.offsets[t % N])) / (t + 2)
    assert int(solution.state.updates) == 3 * N
    assert np.allclose(solution.value, x, rtol=0, atol=1000 * EPS)
    plain = solve(games.GradientDescentAscent(lambda t: 1 / (t + 2), "cyclic"), game, X0, key=KEY, steps=3)
    assert np.allclose(plain.value, x, rtol=0, atol=1000 * EPS)

    def end(scale):
        method = games.Extragradient(games.Power(scale, 0.5), games.Power(2 * scale, 0.5))
        return method.step(game, method.init(game, KEY, X0), KEY).x

    scales = jnp.asarray([0.01, 0.02])
    assert np.allclose(jax.vmap(end)(scales), [end(s) for s in scales], rtol=0, atol=100 * EPS)


def test_decreasing_steps_converge(game):
    """Under a decreasing rule the error goes on falling where a constant step's stops: some |x - x*|^2 ~ 1/t^2."""
    rule = games.Power(4.0, 1.0, 20.0)
    ends = [
        float(
            jnp.sum((solve(games.GradientDescentAscent(rule), game, X0, key=KEY, steps=s).value - game.solution) ** 2)
        )
        for s in (100, 3000)
    ]
    assert ends[1] < ends[0] / 100


def moments_of_one_epoch(method, game, x, count=20_000):
    state = method.init(game, KEY, x)
    ends = np.asarray(jax.jit(jax.vmap(lambda key: method.step(game, state, key).x))(jax.random.split(KEY, count)))
    return ends.mean(0), np.cov(ends.T), count


@pytest.mark.parametrize("site", ["oracle_step", "oracle_epoch", "iterate"])
def test_noise_enters_where_it_says(game, site):
    """The covariance of one cyclic epoch from x*, with equal matrices I/2: closed forms, to five standard errors."""
    g, s, sigma = 0.2, 0.2 * np.sqrt(N) * 0.3, 0.3
    half = games.AffineGame(np.broadcast_to(np.eye(3) / 2, (N, 3, 3)), np.zeros((N, 3)))
    method = games.GradientDescentAscent(g, "cyclic", noise_site=site, sigma=sigma)
    _, covariance, count = moments_of_one_epoch(method, half, jnp.zeros(3))
    powers = (1 - g / 2) ** np.arange(N)
    variance = {
        "oracle_step": (g * s) ** 2 * np.sum(powers**2),
        "oracle_epoch": (g * s * np.sum(powers)) ** 2,
        "iterate": s**2,
    }[site]
    error = variance * np.sqrt(2 / count)
    assert np.all(np.abs(np.diag(covariance) - variance) < 5 * error)
    assert np.all(np.abs(covariance - np.diag(np.diag(covariance))) < 5 * error)


def test_noise_of_one_sample_is_shared_by_its_two_calls():
    """F = 0: extragradient moves by -g1 (s u), and the look-ahead by another multiple of the same u; with F(x) = x the
    step is -g1 (x - g2 (x + s u) + s u) = -g1 s (1 - g2) u from x = 0."""
    line = games.AffineGame([[[1.0]]], [[0.0]])
    g1, g2, sigma = 0.5, 0.25, 0.7
    method = games.Extragradient(g1, g2, "cyclic", noise_site="oracle_step", sigma=sigma)
    _, covariance, count = moments_of_one_epoch(method, line, jnp.zeros(1))
    variance = (g1 * (1 - g2) * g1 * sigma) ** 2
    assert abs(float(covariance) - variance) < 5 * variance * np.sqrt(2 / count)
    two = games.IndependentExtragradient(g1, g2, "cyclic", noise_site="oracle_step", sigma=sigma)
    _, covariance, count = moments_of_one_epoch(two, line, jnp.zeros(1))
    variance = (g1 * g1 * sigma) ** 2 * (1 + g2**2)
    assert abs(float(covariance) - variance) < 5 * variance * np.sqrt(2 / count)


def test_noise_level_comes_from_the_solution(game, cast, dtype):
    narrow = cast(game, dtype)
    at_solution = np.asarray(game.matrices) @ np.asarray(game.solution) + np.asarray(game.offsets)
    method = games.GradientDescentAscent(0.1, noise_site="iterate")
    state = method.init(narrow, KEY, X0.astype(dtype))
    assert state.sigma.dtype == dtype
    expected = np.sqrt(np.mean(np.sum(at_solution**2, axis=1)))
    assert float(state.sigma) == pytest.approx(expected, rel=20 * float(jnp.finfo(dtype).eps))
    after = eqx.filter_jit(method.step)(narrow, state, KEY)
    assert after.x.dtype == dtype
    nobody = games.FiniteSum(lambda i, x: x, 2)
    with pytest.raises(ValueError, match="pass sigma="):
        method.init(nobody, KEY, X0)


def test_noise_never_shifts_the_order(game):
    """Without noise and with noise of level zero the run is the same, to the rounding of its few updates."""
    plain = games.GradientDescentAscent(0.1)
    silent = games.GradientDescentAscent(0.1, noise_site="oracle_step", sigma=0.0)
    ends = [eqx.filter_jit(m.step)(game, m.init(game, KEY, X0), KEY).x for m in (plain, silent)]
    assert np.allclose(*ends, rtol=0, atol=100 * EPS)


class Clipped(games.AffineGame):
    """Affine on the box [-0.1, 0.1]^d."""

    def prox(self, x, step):
        return jnp.clip(x, -0.1, 0.1)


def test_every_move_ends_in_the_proximal_map(game):
    clipped = Clipped(game.matrices, game.offsets)
    x = np.asarray(X0)
    method = games.Extragradient(0.05, 0.1, "cyclic")
    after = method.step(clipped, method.init(clipped, KEY, X0), KEY)
    for a, b in zip(np.asarray(game.matrices), np.asarray(game.offsets), strict=True):
        ahead = np.clip(x - 0.1 * (a @ x + b), -0.1, 0.1)
        x = np.clip(x - 0.05 * (a @ ahead + b), -0.1, 0.1)
    assert np.allclose(after.x, x, rtol=0, atol=100 * EPS)


def test_players_at_different_speeds(game):
    speeds = jnp.asarray([0.01, 0.02, 0.1])
    method = games.GradientDescentAscent(speeds, "cyclic")
    after = method.step(game, method.init(game, KEY, X0), KEY)
    x = np.asarray(X0)
    for a, b in zip(np.asarray(game.matrices), np.asarray(game.offsets), strict=True):
        x = x - np.asarray(speeds) * (a @ x + b)
    assert np.allclose(after.x, x, rtol=0, atol=100 * EPS)


def test_optimistic_gradient_is_extragradients_shadow():
    """On u v, |x| contracts at a step where descent-ascent grows; its characteristic root is the largest of
    z^2 - (1 - 2 i g) z - i g, to rounding."""
    turn = games.AffineGame([[[0.0, 1.0], [-1.0, 0.0]]], [[0.0, 0.0]])
    g, steps = 0.3, 400
    ends = solve(games.OptimisticGradient(g, "cyclic"), turn, jnp.asarray([1.0, 0.0]), key=KEY, steps=steps)
    root = np.abs(np.roots([1, -(1 - 2j * g), -1j * g])).max()
    assert root < 1
    rate = float(jnp.log(jnp.sum(ends.value**2))) / (2 * steps)
    assert abs(rate - np.log(root)) < 2 / steps  # the constant before the power


def test_hamiltonian_descent_on_general_operators():
    """On a nonlinear game one step is the gradient of <F_i, F_j>/2, found by differentiating that number itself."""

    def component(i, x, c):
        return jnp.stack([jnp.tanh(c[i, 0] * x[0]) + x[1] ** 2, c[i, 1] * x[0] * x[1] - jnp.sin(x[1])])

    game = games.FiniteSum(component, 2, data=jnp.asarray([[1.0, -0.5], [2.0, 0.3]]))
    x = jnp.asarray([0.3, -0.8])
    method = games.HamiltonianGradient(0.1, "cyclic")
    found = lax.stop_gradient(method.step(game, method.init(game, KEY, x), KEY).x)

    def product(x):
        return jnp.sum(game.component(0, x) * game.component(1, x)) / 2

    for _ in range(2):
        x = x - 0.1 * jax.grad(product)(x)
    assert np.allclose(found, x, rtol=0, atol=10 * EPS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: games.GradientDescentAscent(0.1, batch_size=0), "batch_size = 0 must be an integer >= 1"),
        (lambda: games.GradientDescentAscent(0.1, noise_site="oracle"), "noise_site = 'oracle' is not one of 'none'"),
        (lambda: games.GradientDescentAscent(0.1, sigma=-1.0), "sigma = -1.0 must be finite and >= 0"),
        (lambda: games.OptimisticGradient(-0.1), "OptimisticGradient: step_size = -0.1"),
        (lambda: games.HamiltonianGradient(0.1, "random"), "order = 'random'"),
        (
            lambda: games.GradientDescentAscent(0.1, batch_size=9).init(games.FiniteSum(lambda i, x: x, 2), KEY, X0),
            "batch_size = 9 exceeds the 2 components",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
