"""Descent on factors: its step rules, the symmetric and asymmetric laws of surplus rank, and the one-step fix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theorylab import engine, lowrank

EPS = float(np.finfo(float).eps)
KEY = jax.random.key(0)
N, ETA = 8, 0.1
SIGNAL = np.asarray([1.0, 0.6])
TRUTH = np.diag(np.append(SIGNAL, np.zeros(N - 2)))


@pytest.fixture(scope="module")
def distance():
    return lowrank.squared_loss(TRUTH)


def run(loss, x0, steps, record=None, **method):
    return engine.solve(lowrank.FactorisedDescent(**method), loss, x0, key=0, steps=steps, record=record)


def squared_errors(times):
    return engine.Record(engine.at(times), loss=lambda problem, state: 2 * problem.loss(state.x))


# the step


def test_a_step_is_gradient_descent(dtype):
    """Of the loss of both factors; and with one factor half the gradient of the loss of X X'."""
    rng = np.random.default_rng(0)
    W1, W2, X = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((3, 2), (4, 2), (3, 2)))
    Y, design = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((5, 4), (5, 3)))
    loss = lowrank.squared_loss(Y, design)
    method = lowrank.FactorisedDescent(0.01)
    new = method.step(loss, method.init(loss, KEY, (W1, W2)), KEY).x
    expected = jax.tree.map(lambda W, g: W - jnp.asarray(0.01, dtype) * g, (W1, W2), jax.grad(loss.loss)((W1, W2)))
    assert all(np.allclose(a, b, rtol=0, atol=100 * np.finfo(dtype).eps) for a, b in zip(new, expected, strict=True))
    square = lowrank.squared_loss(jnp.asarray(rng.standard_normal((3, 3)), dtype))
    new = method.step(square, method.init(square, KEY, X), KEY).x
    expected = X - jnp.asarray(0.005, dtype) * jax.grad(square.loss)(X)
    assert new.dtype == dtype and np.allclose(new, expected, rtol=0, atol=100 * np.finfo(dtype).eps)


def test_aligned_factors_follow_scalar_recursions(distance):
    """Columns along eigenvectors: x+ = x (1 + eta (sigma - x^2)) for X X', and pairs for W1 W2'."""
    start = np.asarray([0.5, 0.3, 0.4])
    X, pair = np.eye(N, 3) * start, (np.eye(N, 3) * start, np.eye(N, 3) * start[::-1])
    sigma, x, f, g = np.append(SIGNAL, 0.0), start.copy(), start.copy(), start[::-1].copy()
    for _ in range(200):
        x = x * (1 + ETA * (sigma - x**2))
        f, g = f - ETA * (f * g - sigma) * g, g - ETA * (f * g - sigma) * f
    found = run(distance, jnp.asarray(X), 200, step_size=ETA).value
    assert np.allclose(found, np.eye(N, 3) * x, rtol=0, atol=200 * 10 * EPS)
    F, G = run(distance, jax.tree.map(jnp.asarray, pair), 200, step_size=ETA).value
    assert np.allclose(F, np.eye(N, 3) * f, rtol=0, atol=200 * 10 * EPS)
    assert np.allclose(G, np.eye(N, 3) * g, rtol=0, atol=200 * 10 * EPS)


def test_one_orthonormal_factor_that_hardly_moves_gives_descent_in_the_product():
    """With W2 W2' = s I, s large, the path is that of W+ = W - eta s G up to order 1/s^2."""
    rng = np.random.default_rng(1)
    W, target = rng.standard_normal((2, 3, 3)) / 3
    gaps = []
    for s in (1e2, 1e4):
        scale = np.sqrt(s)
        loss = lowrank.squared_loss(target)
        pair = run(loss, (jnp.asarray(W / scale), jnp.asarray(scale * np.eye(3))), 10, step_size=0.2 / s).value
        plain = target + 0.8**10 * (W - target)
        gaps.append(np.abs(pair[0] @ pair[1].T - plain).max())
    assert gaps[0] < 1e-4 and gaps[1] == pytest.approx(gaps[0] / 1e4, rel=0.1)  # the next order is a hundredth


@pytest.mark.parametrize("rule", ["local", "paper"])
def test_certified_steps_always_descend(rule):
    rng = np.random.default_rng(2)
    labels, X = np.sign(rng.standard_normal((10, 2))), rng.standard_normal((10, 3))
    loss = lowrank.ridge_logistic_loss(labels, X, 0.2)
    x0 = jnp.asarray(3 * rng.standard_normal((3, 4))), jnp.asarray(rng.standard_normal((2, 4)))

    def watch(problem, state):
        found = lowrank.local_constants(
            *state.x, problem.function, mu=problem.mu, lipschitz=problem.lipschitz, rule=rule, minimum=problem.minimum
        )
        return problem.loss(state.x) - problem.minimum, found.pl / found.smoothness, found.step_size

    method = lowrank.FactorisedDescent(rule=rule)
    record = engine.Record(engine.every(1), all=watch, size=method.next_step_size)
    solution = engine.solve(method, loss, x0, key=0, steps=60, record=record)
    excess, rate, size = (np.asarray(value) for value in solution.trace["all"])
    assert np.all(excess[1:] <= (1 - rate[:-1]) * excess[:-1] + 10 * EPS)
    assert np.allclose(solution.trace["size"], size, rtol=1e-12)
    assert np.all(np.diff(excess) < 0)


def test_the_growing_bound_is_the_papers():
    """min{(1 + eta_0^d)^(t/2) eta_0, 1/K_t}: whichever is smaller."""
    loss = lowrank.squared_loss(jnp.eye(2))
    method = lowrank.FactorisedDescent(0.1, "paper", exponent=1.5)
    x0 = jnp.asarray([[2.0, 0.0], [0.0, 1.0]]), jnp.asarray([[1.0, 0.3], [0.0, 2.0]])
    state, sizes, local = method.init(loss, KEY, x0), [], []
    step = jax.jit(lambda state: (method.step(loss, state, KEY), method.next_step_size(loss, state)))
    for _ in range(40):
        K = lowrank.local_constants(*state.x, loss.function, mu=1.0, lipschitz=1.0, rule="paper")
        local.append(float(K.step_size))
        state, size = step(state)
        sizes.append(float(size))
    bound = 0.1 * (1 + 0.1**1.5) ** (np.arange(40) / 2)
    assert np.allclose(sizes, np.minimum(bound, local), rtol=1e-12)
    assert np.any(bound < local) and np.any(bound > local)


# surplus rank


def test_symmetric_surplus_follows_its_law(distance):
    """Loss (2 eta t)^2 comes to k - r from below, and the late loss is the sum over its singular values."""
    X = lowrank.small_factors(KEY, (N, N), 4, 0.2)[0]
    solution = run(distance, X, 20_000, squared_errors([2000, 20_000]), step_size=ETA)
    middle = run(distance, X, 2000, step_size=ETA).value
    surplus = np.linalg.svd(np.asarray(middle)[2:], compute_uv=False)[:2]
    start, end = np.asarray(solution.trace["loss"])
    # x^-2 grows by 2 eta + 3 eta^2 x^2 a step: the law leaves out the second, 3/2 ln 10 of t steps
    assert end == pytest.approx(lowrank.surplus_loss(surplus, ETA, 18_000), rel=4 * np.log(10) / 20_000)
    assert start == pytest.approx(lowrank.surplus_loss(surplus, ETA, 0), rel=1e-3)  # the signal's share of it
    assert 1.98 < end * (2 * ETA * 20_000) ** 2 < 2


def test_a_truth_of_zero_is_all_surplus():
    zero = lowrank.squared_loss(jnp.zeros((4, 4)))
    X = 0.5 * jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    start = np.linalg.svd(X, compute_uv=False)
    end = float(run(zero, X, 5000, squared_errors([5000]), step_size=ETA).trace["loss"][0])
    assert end == pytest.approx(lowrank.surplus_loss(start, ETA, 5000), rel=4 * np.log(5000) / 5000)


@pytest.mark.parametrize("rank", [2, 3])
def test_asymmetric_descent_has_the_late_rate(distance, rank):
    """The loss falls by (1 - eta lambda)^2 a step, with and without surplus."""
    x0 = lowrank.small_factors(jax.random.key(3), (N, N), rank, 0.15)
    times = [400, 500] if rank == 2 else [1000, 1500]
    solution = run(distance, x0, times[-1], squared_errors(times), step_size=ETA)
    first, last = np.asarray(solution.trace["loss"])
    assert 1e-26 < last < 1e-8
    rate = lowrank.late_rate(*solution.value, 2)
    slope = np.log(last / first) / (times[1] - times[0])
    # beside the slowest mode others die out, and the loss's root is what they are measured by
    assert slope == pytest.approx(2 * np.log(1 - ETA * rate), rel=1e-3)


def test_the_law_of_the_imbalance_is_of_leading_order(distance):
    """It misses the late rate by the square of the start's scale, and the rate itself is of that order."""
    rates, misses = [], []
    for scale in (0.1, 0.05):
        x0 = lowrank.small_factors(jax.random.key(3), (N, N), 3, scale)
        F, G = run(distance, x0, 4000 if scale == 0.1 else 16_000, step_size=ETA).value
        rates.append(lowrank.late_rate(F, G, 2))
        misses.append(abs(lowrank.surplus_rate(F, G, TRUTH) / rates[-1] - 1))
        left = np.linalg.norm(F @ G.T - TRUTH)  # factors are off their limit by it at most
        assert 0 < misses[-1] * rates[-1] <= lowrank.surplus_rate_error(F, G, TRUTH) + left
    assert misses[0] < 0.1 and misses[0] / misses[1] == pytest.approx(4, rel=0.3)
    assert rates[0] / rates[1] == pytest.approx(4, rel=3 * misses[0])  # as far as the scale is from small


def test_late_losses_follow_the_linear_recursion():
    rng = np.random.default_rng(0)
    F, G, start = (rng.standard_normal(shape) for shape in ((4, 2), (5, 2), (4, 5)))
    E, losses = start, []
    for _ in range(50):
        losses.append(np.sum(E**2))
        E = E - 0.05 * (E @ G @ G.T + F @ F.T @ E)
    found = lowrank.late_loss(start, F, G, 0.05, np.arange(50))
    assert np.allclose(found, losses, rtol=50 * 50 * EPS, atol=0)  # fifty steps of some ten roundings


def test_a_tied_pair_is_symmetric_descent_for_ever(distance):
    """The curse of symmetry: no imbalance, no rate."""
    X = lowrank.small_factors(KEY, (N, N), 3, 0.2)[0]
    tied = run(distance, (X, X), 2000, step_size=ETA).value
    alone = run(distance, X, 2000, step_size=ETA).value
    assert np.allclose(tied[0], tied[1], rtol=0, atol=1e-12) and np.allclose(tied[0], alone, rtol=0, atol=1e-12)
    assert lowrank.surplus_rate(*tied, TRUTH) < 1e-12


def test_zero_is_a_saddle_and_small_ranks_miss_the_rest(distance):
    zero = run(distance, lowrank.small_factors(KEY, (N, N), 2, 0.0), 50, step_size=ETA).value
    assert not np.any(zero[0]) and not np.any(zero[1])
    x0 = lowrank.small_factors(KEY, (N, N), 1, 0.2)
    end = run(distance, x0, 2000, squared_errors([2000]), step_size=ETA).trace["loss"][0]
    assert float(end) == pytest.approx(SIGNAL[1] ** 2, rel=1e-12)


def test_one_rescaling_keeps_the_product_and_mends_the_rate(distance, dtype):
    x0 = lowrank.small_factors(jax.random.key(3), (N, N), 4, 0.15)
    F, G = jax.tree.map(lambda W: W.astype(dtype), run(distance, x0, 400, step_size=ETA).value)
    A, B = lowrank.rescaled_factors(F, G, 1.0)
    eps = np.finfo(dtype).eps
    assert A.dtype == dtype and np.allclose(A @ B.T, F @ G.T, rtol=0, atol=20 * eps)
    assert np.allclose(A.T @ A, np.eye(4), rtol=0, atol=20 * eps)
    if dtype == "float64":
        solution = run(distance, (A, B), 120, squared_errors([0, 60, 120]), step_size=ETA)
        before, middle, last = np.asarray(solution.trace["loss"])
        # F may still move by what G takes in: twice the residual of that moment
        assert np.log(last / middle) / 60 == pytest.approx(2 * np.log(1 - ETA), rel=2 * np.sqrt(before))


def test_the_product_of_a_surplus_pair_is_its_flow():
    def flow(t, x):
        f, g = x
        return [-f * g**2, -g * f**2]

    times = np.asarray([0.0, 1.0, 10.0, 60.0])
    for f, g in ((0.7, 0.4), (0.4, 0.7), (0.5, 0.5)):
        exact = solve_ivp(flow, (0, 60), [f, g], t_eval=times, rtol=1e-12, atol=1e-16).y
        found = lowrank.surplus_product(f * g, f**2 - g**2, times)
        assert np.allclose(found, exact[0] * exact[1], rtol=1e-9)
    assert float(lowrank.surplus_product(1.0, 3.0, 1e4)) == 0


def test_sensing_is_its_loss(distance):
    """The gradient is the adjoint of the residual over m, and many measurements give the population's path."""
    problem = lowrank.sensing_problem(KEY, shape=(4, 3), true_rank=1, measurements=30)
    loss, W = lowrank.sensing_loss(problem), jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    value, gradient = loss.value_and_gradient(W)
    expected = jax.value_and_grad(lambda W: jnp.mean((problem.operator.apply(W) - problem.observations) ** 2) / 2)(W)
    assert np.allclose(value, expected[0], rtol=1e-14) and np.allclose(gradient, expected[1], rtol=0, atol=1e-13)
    explicit = (
        sum(
            float(r) * A
            for r, A in zip(problem.operator.apply(W) - problem.observations, problem.operator.matrices, strict=True)
        )
        / 30
    )
    assert np.allclose(gradient, explicit, rtol=0, atol=1e-13)


def test_many_measurements_recover_the_truth():
    problem = lowrank.sensing_problem(KEY, shape=(6, 5), true_rank=2, measurements=600, condition=2.0)
    x0 = lowrank.small_factors(KEY, (6, 5), 2, 0.2)
    solution = run(lowrank.sensing_loss(problem), x0, 600, step_size=0.1)
    assert float(problem.error(solution.value)) < 1e-10


def test_bad_input_is_named(distance):
    x0 = lowrank.small_factors(KEY, (N, N), 2, 0.1)
    with pytest.raises(ValueError, match="step_size = None"):
        lowrank.FactorisedDescent()
    with pytest.raises(ValueError, match="lipschitz is None"):
        lowrank.FactorisedDescent(rule="local").init(lowrank.MatrixLoss(jnp.sum), KEY, x0)
    for bad in ((x0[0], x0[1][:, :1]), x0[0][0], (x0[0][:2], x0[1])):
        with pytest.raises(ValueError, match="x0"):
            lowrank.FactorisedDescent(0.1).init(distance, KEY, bad)
    with pytest.raises(ValueError, match="entry_std = -1"):
        lowrank.small_factors(KEY, (3, 3), 2, -1.0)
    with pytest.raises(ValueError, match="rank = 4"):
        lowrank.small_factors(KEY, (3, 3), 4, 0.1)
    with pytest.raises(ValueError, match="scale = 0"):
        lowrank.rescaled_factors(*x0, 0.0)
    with pytest.raises(ValueError, match="no surplus"):
        lowrank.surplus_rate(*x0, TRUTH)
    with pytest.raises(ValueError, match="no surplus"):
        lowrank.surplus_rate_error(*x0, TRUTH)
    with pytest.raises(ValueError, match="true_rank = 3"):
        lowrank.late_rate(*x0, 3)
    with pytest.raises(ValueError, match="residual has the shape"):
        lowrank.late_loss(np.eye(2), *x0, 0.1, 1)
    with pytest.raises(ValueError, match="below 1"):
        lowrank.claims.overparam_matrix_sensing.contraction(0.5, 2.0)
    with pytest.raises(ValueError, match="design is zero"):
        lowrank.squared_loss(np.eye(2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="mu = 2"):
        lowrank.MatrixLoss(jnp.sum, mu=2.0, lipschitz=1.0)
