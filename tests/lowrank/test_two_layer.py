"""Local constants and certificates of two-layer linear networks: inequalities fuzzed, closed forms, the drift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import lowrank
from theorylab.lowrank.two_layer import extreme_curvatures, local_terms, reciprocal_step, smoothness

EPS = float(np.finfo(float).eps)
SHAPES = [(3, 3, 3), (3, 2, 4), (2, 4, 3), (1, 3, 2), (4, 1, 1), (2, 2, 7)]


def factors(seed, n, m, h):
    rng = np.random.default_rng(seed)
    return tuple(10 ** rng.uniform(-1, 1) * rng.standard_normal((rows, h)) for rows in (n, m))


def exact(W1, W2):
    """a and s from the matrix of the map G -> (G W2, G' W1) itself."""
    n, m = len(W1), len(W2)
    columns = [np.concatenate([(E @ W2).ravel(), (E.T @ W1).ravel()]) for E in np.eye(n * m).reshape(-1, n, m)]
    values = np.linalg.svd(np.stack(columns, 1), compute_uv=False)
    return values[-1] ** 2, values[0] ** 2


@pytest.mark.parametrize("shape", SHAPES)
def test_curvatures_are_the_extreme_singular_values_of_the_map(shape):
    W1, W2 = factors(0, *shape)
    a, s = extreme_curvatures(jnp.asarray(W1), jnp.asarray(W2))
    expected = exact(W1, W2)
    assert np.allclose((a, s), expected, rtol=0, atol=50 * EPS * expected[1])


def descent_checks(W1, W2, X, Y, rule):
    """The slack of the descent lemma at several steps, of the PL inequality, and eta K(eta) - 1."""

    def loss(W):
        return jnp.sum((Y - X @ W) ** 2) / 2

    eigenvalues = jnp.linalg.eigvalsh(X.T @ X)
    minimum = loss(jnp.linalg.lstsq(X, Y)[0])
    found = lowrank.local_constants(
        W1, W2, loss, mu=eigenvalues[0], lipschitz=eigenvalues[-1], rule=rule, minimum=minimum
    )
    L, G = jax.value_and_grad(loss)(W1 @ W2.T)
    D1, D2 = G @ W2, G.T @ W1
    squared = jnp.sum(D1**2) + jnp.sum(D2**2)
    K = local_terms(W1, W2, L - minimum, G, eigenvalues[-1], rule).k
    slack = []
    for factor in (0.3, 1.0, 1.9, 5.0):
        eta = factor * found.step_size
        after = loss((W1 - eta * D1) @ (W2 - eta * D2).T)
        slack.append((L - (eta - smoothness(K, eta) * eta**2 / 2) * squared - after) / (L + after))
    pl = (squared / 2 - found.pl * (L - minimum)) / (squared + found.pl * L)
    return jnp.min(jnp.stack(slack)), pl, jnp.abs(found.step_size * found.smoothness - 1)


@pytest.mark.parametrize("rule", ["local", "paper"])
def test_the_descent_lemma_holds_on_random_problems(rule, dtype):
    rng, count = np.random.default_rng(1), 2000

    def draw(*shape):
        return jnp.asarray(10 ** rng.uniform(-1, 1, (count, 1, 1)) * rng.standard_normal((count, *shape)), dtype)

    # lane after lane: batched eigenvalues, several at once, can leave XLA's CPU threads waiting for each other
    many = jax.jit(lambda *lanes: jax.lax.map(lambda lane: descent_checks(*lane, rule), lanes))
    slack, pl, off = many(draw(3, 4), draw(2, 4), draw(6, 3), draw(6, 2))
    rounding = 1000 * float(np.finfo(dtype).eps)  # a thousand: the smallest eigenvalue's error over itself
    assert slack.min() > -rounding and pl.min() > -rounding and off.max() < rounding


def test_constants_of_other_losses():
    """A loss that is no square, with a minimum above zero; the local rule does not read it."""
    rng = np.random.default_rng(2)
    labels, X = np.sign(rng.standard_normal((12, 2))), rng.standard_normal((12, 3))
    loss = lowrank.ridge_logistic_loss(labels, X, 0.1)
    assert np.abs(loss.value_and_gradient(loss.solution)[1]).max() < 1e-14
    for seed in range(20):
        W1, W2 = (jnp.asarray(W) for W in factors(seed, 3, 2, 3))
        values = {
            rule: lowrank.local_constants(
                W1, W2, loss.function, mu=0.1, lipschitz=loss.lipschitz, rule=rule, minimum=loss.minimum
            )
            for rule in ("local", "paper")
        }
        L, (D1, D2) = jax.value_and_grad(loss.loss)((W1, W2))
        squared = float(jnp.sum(D1**2) + jnp.sum(D2**2))
        for found in values.values():
            after = loss.loss((W1 - found.step_size * D1, W2 - found.step_size * D2))
            assert after <= L - found.step_size * squared / 2 + 10 * EPS * L
            assert squared / 2 >= found.pl * (L - loss.minimum) * (1 - 1e-12)


def test_the_paper_constant_is_its_formula():
    W1, W2 = jnp.asarray([[2.0, 0.0], [0.0, 1.0]]), jnp.asarray([[1.0, 0.0]])
    loss = lowrank.squared_loss(jnp.asarray([[0.0], [3.0]]))
    pl, K, eta = lowrank.local_constants(W1, W2, loss.function, mu=1, lipschitz=1, rule="paper")
    L, s, top, eta = 6.5, 5.0, 2.0, float(eta)
    root = np.sqrt(2 * L)
    assert float(pl) == pytest.approx(1 + 1, rel=1e-14)  # sigma_2(W1)^2 + sigma_1(W2)^2
    assert float(K) == pytest.approx(s + root + 6 * top * L * eta**2 + 3 * s * root * eta, rel=1e-14)
    assert float(K * eta) == pytest.approx(1, rel=1e-14)


def test_at_the_solution_both_rules_are_k_times_s():
    W1, W2 = (jnp.asarray(W) for W in factors(3, 3, 2, 3))
    loss = lowrank.squared_loss(W1 @ W2.T)
    for rule in ("local", "paper"):
        found = lowrank.local_constants(W1, W2, loss.function, mu=1.0, lipschitz=1.0, rule=rule)
        assert float(found.smoothness) == pytest.approx(exact(W1, W2)[1], rel=1e-13)


def test_there_are_no_global_constants():
    """At zero factors the gradient vanishes and the loss does not, so no positive constant holds everywhere."""
    zero = jnp.zeros((2, 3))
    loss = lowrank.squared_loss(jnp.eye(2))
    found = lowrank.local_constants(zero, zero, loss.function, mu=1.0, lipschitz=1.0)
    assert float(found.pl) == 0 and float(found.smoothness) == pytest.approx(1.0)
    done = lowrank.local_constants(zero, zero, lowrank.squared_loss(jnp.zeros((2, 2))).function, mu=1.0, lipschitz=1.0)
    assert np.isinf(done.step_size)


def test_reciprocal_steps_over_thirty_decades(dtype):
    rng = np.random.default_rng(4)
    k = np.where(rng.random((5000, 3)) < 0.2, 0, 10 ** rng.uniform(-15, 15, (5000, 3)))
    k = jnp.asarray(k[np.any(k > 0, axis=1)], dtype)
    eta = jax.jit(jax.vmap(reciprocal_step))(k)
    off = jax.vmap(smoothness)(k, eta) * eta - 1
    assert jnp.abs(off).max() < 10 * np.finfo(dtype).eps
    assert np.isinf(reciprocal_step(jnp.zeros(3, dtype)))


def test_constants_differentiate():
    W1, W2 = (jnp.asarray(W) for W in factors(5, 2, 2, 3))
    loss = lowrank.squared_loss(jnp.eye(2)).function

    def step(scale):
        return lowrank.local_constants(scale * W1, W2, loss, mu=1.0, lipschitz=1.0).step_size

    forward, h = jax.grad(step)(1.0), 1e-5
    assert float(forward) == pytest.approx(float(step(1 + h) - step(1 - h)) / (2 * h), rel=1e-7)  # h^2 of the third


@pytest.mark.parametrize("shape", SHAPES)
def test_certificates_hold_in_every_shape(shape):
    for seed in range(300):
        W1, W2 = factors(seed, *shape)
        a, s = (float(value) for value in extreme_curvatures(jnp.asarray(W1), jnp.asarray(W2)))
        alpha, beta = lowrank.imbalance_certificate(W1, W2)
        assert alpha <= a + 50 * EPS * s and s <= beta * (1 + 50 * EPS)


def test_the_pitfall_of_oblong_products():
    """The paper's alpha_1, with one margin in both roots, holds for n = m and fails for n != m, often."""
    broken = {False: 0, True: 0}
    for seed in range(300):
        for oblong, shape in ((False, (3, 3, 4)), (True, (3, 2, 4))):
            W1, W2 = factors(seed, *shape)
            a, s = (float(value) for value in extreme_curvatures(jnp.asarray(W1), jnp.asarray(W2)))
            claimed, above = lowrank.claims.two_layer_linear_gd.certificate(W1, W2)
            broken[oblong] += claimed > a + 1e-12 * s
            assert s <= above * (1 + 50 * EPS)
            if not oblong:
                assert claimed == pytest.approx(lowrank.imbalance_certificate(W1, W2)[0], abs=1e-13 * s)
    assert broken[False] == 0 and broken[True] > 30


def test_certificates_in_closed_form():
    """Balanced square factors: twice the extreme singular values. One factor zero: the Gram matrix of the other."""
    rng = np.random.default_rng(6)
    U, V, Q = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(3))
    values = np.asarray([4.0, 2.0, 1.0])
    W1, W2 = (U * np.sqrt(values)) @ Q.T, (V * np.sqrt(values)) @ Q.T
    assert np.allclose(lowrank.imbalance_certificate(W1, W2), (2, 8), rtol=1e-13)
    assert np.abs(lowrank.imbalance(W1, W2)).max() < 1e-14
    W = rng.standard_normal((3, 5))
    squares = np.linalg.svd(W, compute_uv=False) ** 2
    assert np.allclose(lowrank.imbalance_certificate(W, np.zeros((3, 5))), squares[[-1, 0]], rtol=1e-12)


def test_certificates_along_a_whole_run():
    """The start alone, with the margin of its loss and the drift of all steps, certifies every later point."""
    W1, W2 = np.random.default_rng(7).standard_normal((2, 3, 40)) / 6
    loss = lowrank.squared_loss(W1 @ W2.T + 0.05 * np.eye(3))
    margin = lowrank.spectral_margin(W1 @ W2.T, loss.solution, mu=1, lipschitz=1)
    excess = float(loss.loss((jnp.asarray(W1), jnp.asarray(W2))))
    method, first = lowrank.FactorisedDescent(rule="local"), lowrank.imbalance(W1, W2)
    state = method.init(loss, jax.random.key(0), (jnp.asarray(W1), jnp.asarray(W2)))
    step, largest, seen = jax.jit(lambda state: method.step(loss, state, jax.random.key(0))), 0.0, []
    for _ in range(15):
        (A, B), eta = state.x, float(method.next_step_size(loss, state))
        seen.append(((A, B), np.linalg.norm(lowrank.imbalance(A, B) - first, 2)))
        largest = max(largest, eta)
        predicted = lowrank.imbalance_drift(A, B, loss.value_and_gradient(A @ B.T)[1], eta)
        state = step(state)
        moved = lowrank.imbalance(*state.x) - lowrank.imbalance(A, B)
        assert np.abs(moved - predicted).max() < 1e-14
    drift = 2 * largest * excess
    alpha, beta = lowrank.imbalance_certificate(W1, W2, margin=margin, drift=drift)
    assert alpha > 0
    for (A, B), distance in seen:
        a, s = extreme_curvatures(A, B)
        values = np.linalg.svd(A @ B.T, compute_uv=False)
        assert distance <= drift and alpha <= a and s <= beta
        assert margin[0] <= values[-1] and values[0] <= margin[1]


def test_the_global_theorem_at_its_largest_step():
    rng = np.random.default_rng(8)
    W1, W2 = rng.standard_normal((2, 4, 60))
    loss = lowrank.squared_loss(W1 @ W2.T + 0.1 * rng.standard_normal((4, 4)))
    claimed = lowrank.claims.two_layer_linear_gd.descent(W1, W2, loss)
    eta = 0.99 * claimed.largest_step_size()
    bounds = claimed.smoothness(eta, np.arange(200))
    found = lowrank.local_constants(
        jnp.asarray(W1), jnp.asarray(W2), loss.function, mu=1.0, lipschitz=1.0, rule="paper"
    )
    assert np.all(np.diff(bounds) <= 0) and 0 < claimed.contraction(eta) < 1
    assert 0 < claimed.pl(eta) <= float(found.pl) and float(found.smoothness) <= bounds[0]
    assert bounds[-1] >= np.exp(eta**0.5) * claimed.alpha2


@pytest.mark.parametrize(
    "change, match",
    [
        ({"mu": 0.0}, "mu = 0.0"),
        ({"mu": 2.0}, "mu = 2.0 exceeds"),
        ({"lipschitz": np.inf}, "lipschitz = inf"),
        ({"rule": "tight"}, "rule = 'tight'"),
        ({"W1": np.ones((2, 4))}, "W1 has the shape"),
        ({"W1": np.ones((2, 1)), "W2": np.ones((2, 1))}, "h = 1"),
        ({"W2": np.full((2, 3), np.nan)}, r"W2\[0, 0\] = nan"),
        ({"loss": lambda W: W[0]}, "loss returns"),
        ({"loss": lambda W: jnp.sum(W) * np.inf}, "not finite"),
        ({"minimum": 5.0, "rule": "paper"}, "minimum = 5.0"),
    ],
)
def test_bad_input_is_named(change, match):
    good = {"W1": np.eye(2, 3), "W2": np.eye(2, 3), "loss": lowrank.squared_loss(np.ones((2, 2))).function}
    arguments = good | {"mu": 1.0, "lipschitz": 1.0} | change
    W1, W2, loss = (arguments.pop(name) for name in ("W1", "W2", "loss"))
    with pytest.raises(ValueError, match=match):
        lowrank.local_constants(W1, W2, loss, **arguments)


def test_bad_certificates_are_named():
    W = np.eye(2)
    with pytest.raises(ValueError, match="margin"):
        lowrank.imbalance_certificate(W, W, margin=(2.0, 1.0))
    with pytest.raises(ValueError, match="drift"):
        lowrank.imbalance_certificate(W, W, drift=-1.0)
    with pytest.raises(ValueError, match="W2 "):
        lowrank.imbalance_certificate(W, np.ones((2, 3)))
    with pytest.raises(ValueError, match="alpha_1"):
        lowrank.claims.two_layer_linear_gd.descent(np.zeros((2, 2)), np.zeros((2, 2)), lowrank.squared_loss(W))
    with pytest.raises(ValueError, match="exponents"):
        lowrank.claims.two_layer_linear_gd.descent(W, W, lowrank.squared_loss(W), exponents=(2.0, 2.0))
    with pytest.raises(ValueError, match="labels"):
        lowrank.ridge_logistic_loss([[0.0]], [[1.0]], 0.1)
