"""The flow of adapters: SciPy, closed forms, the reduction to the difference's spaces, invariants, both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theorylab.lowrank import lora
from theorylab.lowrank.lora.flow import low_rank_factors
from theorylab.numerics import integrate

M, N, RANK, Q = 20, 24, 2, 3
EPS = float(np.finfo(float).eps)
TS = jnp.asarray([0.0, 0.7, 1.5, 4.0])
TIGHT = {"rtol": 1e-10, "atol": 1e-13}


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture(scope="module")
def factors():
    return jnp.asarray(normal(0, M, Q) / 4), jnp.asarray(normal(1, N, Q) / 4)


@pytest.fixture(scope="module")
def difference(factors):
    return factors[0] @ factors[1].T


@pytest.fixture(scope="module")
def start():
    return jnp.asarray(normal(2, RANK, N) / 5), jnp.asarray(normal(3, M, RANK) / 5)


@pytest.fixture(scope="module")
def reference(difference, start):
    """SciPy, by the residual."""
    D, (A0, B0) = np.asarray(difference), map(np.asarray, start)

    def field(t, y):
        A, B = y[: A0.size].reshape(A0.shape), y[A0.size :].reshape(B0.shape)
        E = D - B @ A
        return np.concatenate([(B.T @ E).ravel(), (E @ A.T).ravel()])

    y0 = np.concatenate([A0.ravel(), B0.ravel()])
    y = solve_ivp(field, (0, 4), y0, method="DOP853", t_eval=np.asarray(TS), rtol=1e-12, atol=1e-14).y.T
    return y[:, : A0.size].reshape(-1, *A0.shape), y[:, A0.size :].reshape(-1, *B0.shape)


@pytest.mark.parametrize("how", ["auto", "never", "factors"])
def test_agrees_with_scipy(how, difference, factors, start, reference):
    given = factors if how == "factors" else difference
    found = lora.lora_flow(given, *start, TS, reduce="never" if how == "never" else "auto", **TIGHT)
    # a hundred tolerances: what steps of 1e-10 each add up to
    for own, other in zip((found.A, found.B), reference, strict=True):
        assert np.allclose(own, other, rtol=0, atol=1e-8)
    exact = np.sum((np.asarray(difference) - reference[1] @ reference[0]) ** 2, axis=(1, 2)) / 2
    assert np.allclose(found.loss, exact, rtol=0, atol=1e-8)
    assert bool(jnp.all(found.reached))
    assert float(found.residual) <= 100 * EPS * np.linalg.norm(difference)
    assert (float(found.residual) > 0) == (how == "auto")


def test_a_start_with_no_b_needs_the_columns_of_the_difference_alone(difference, start):
    A0, B0 = start[0], jnp.zeros((M, RANK))
    reduced, whole = (lora.lora_flow(difference, A0, B0, TS, reduce=how, **TIGHT) for how in ("auto", "never"))
    assert np.allclose(reduced.B, whole.B, rtol=0, atol=1e-8) and np.allclose(reduced.A, whole.A, rtol=0, atol=1e-8)
    assert float(reduced.residual) > 0 == float(whole.residual)


def test_the_flow_conserves_its_invariant(difference, start):
    found = lora.lora_flow(difference, *start, TS, **TIGHT)
    kept = lora.adapter_invariant(found.A, found.B)
    assert np.allclose(kept, lora.adapter_invariant(*start), rtol=0, atol=1e-9)
    assert np.all(np.diff(found.loss) < 0)


def test_balanced_rank_one_is_logistic(dtype):
    """From B0 = sqrt(p0) u, A0 = sqrt(p0) v' the product is p u v' with p' = 2 p (sigma - p)."""
    sigma, p0 = 1.5, 0.01
    u, v = (np.asarray(x / np.linalg.norm(x)) for x in (normal(4, M), normal(5, N)))
    D, A0, B0 = sigma * np.outer(u, v), np.sqrt(p0) * v[None], np.sqrt(p0) * u[:, None]
    D, A0, B0 = (jnp.asarray(x, dtype) for x in (D, A0, B0))
    found = lora.lora_flow(D, A0, B0, TS.astype(dtype), rtol=1e-5 if dtype == "float32" else 1e-10)
    p = sigma / (1 + (sigma / p0 - 1) * np.exp(-2 * sigma * np.asarray(TS)))
    # the step's tolerance, amplified by the growth of p by 150
    atol = 2e-3 if dtype == "float32" else 1e-7
    assert found.A.dtype == dtype and found.loss.dtype == dtype
    assert np.allclose(np.einsum("i,tir,trj,j->t", u, found.B, found.A, v), p, rtol=0, atol=atol)


def test_a_zero_difference_and_a_zero_start_rest(difference):
    A0, B0 = jnp.zeros((RANK, N)), jnp.zeros((M, RANK))
    found = lora.lora_flow(difference, A0, B0, TS)
    assert not np.any(found.A) and not np.any(found.B)
    assert np.allclose(found.loss, np.linalg.norm(difference) ** 2 / 2, rtol=1e-13)
    found = lora.lora_flow(jnp.zeros((M, N)), jnp.asarray(normal(0, RANK, N)), B0, TS)
    assert not np.any(found.B) and not np.any(found.loss)


def test_low_rank_is_found_where_it_is_and_only_there():
    low = normal(0, 60, 5) @ normal(1, 5, 50)
    L, R, residual = low_rank_factors(low)
    assert L.shape == (60, 5) and residual == np.linalg.norm(low - L @ R.T) <= 100 * EPS * np.linalg.norm(low)
    assert low_rank_factors(low + 1e-11 * normal(2, 60, 50)) is None
    assert low_rank_factors(normal(3, 60, 50)) is None
    # what a corner does not see
    spread = low.copy()
    spread[:, 0] += 100 * normal(4, 60)
    L, R, _ = low_rank_factors(spread)
    assert np.allclose(L @ R.T, spread, rtol=0, atol=100 * EPS * np.linalg.norm(spread))


def test_lanes_are_single_runs(difference, start):
    A0, B0 = start
    many = jnp.stack([A0, 2 * A0, -A0])
    lanes = jax.jit(jax.vmap(lambda A: lora.lora_flow(difference, A, B0, TS, **TIGHT)))(many)
    for k in range(3):
        one = lora.lora_flow(difference, many[k], B0, TS, **TIGHT)
        assert np.allclose(lanes.A[k], one.A, rtol=0, atol=1e-9)
    assert lanes.residual.shape == (3,)


def test_forward_derivatives(difference, start):
    A0, B0 = start
    along = jnp.asarray(normal(6, RANK, N))

    def loss(s):
        return lora.lora_flow(difference, A0 + s * along, B0, TS[-1:], reduce="never", **TIGHT).loss[0]

    _, slope = jax.jvp(loss, (0.0,), (1.0,))
    h = 1e-4  # central differences: h^2, and the flow's 1e-9 over h
    assert float(slope) == pytest.approx(float(loss(h) - loss(-h)) / (2 * h), abs=1e-5)


def test_where_a_flow_ends_early_its_values_are_nan():
    """y' = y^2 from 1 has no value from t = 1 on."""
    run = integrate(lambda y, _: y**2, jnp.ones(()), jnp.asarray([0.5, 0.9, 1.1]), None, rtol=1e-9, atol=1e-12)
    assert run.reached.tolist() == [True, True, False]
    assert np.allclose(run.y[:2], [2, 10], rtol=1e-6) and np.isnan(run.y[2])
    few = integrate(lambda y, _: -y, jnp.ones(()), jnp.asarray([50.0]), None, rtol=1e-9, atol=0.0, max_steps=3)
    assert not few.reached[0] and int(few.steps) == 3


def test_between_steps_the_error_is_that_of_the_steps():
    """A circle, entries of which stay at zero, with no absolute tolerance."""
    ts = jnp.linspace(0, 6, 61)
    run = integrate(
        lambda y, w: jnp.stack([-w * y[1], w * y[0], 0 * y[2]]), jnp.eye(3)[0], ts, jnp.ones(()), rtol=1e-8, atol=1e-9
    )
    assert np.allclose(run.y[:, :2], np.stack([np.cos(ts), np.sin(ts)], 1), rtol=0, atol=1e-6)
    rest = integrate(lambda y, _: -y, jnp.eye(2)[0], ts, None, rtol=1e-8, atol=0.0)
    assert np.allclose(rest.y[:, 0], np.exp(-ts), rtol=1e-6) and bool(jnp.all(rest.reached))


GOOD = {"difference": jnp.ones((3, 4)), "A0": jnp.ones((2, 4)), "B0": jnp.ones((3, 2)), "ts": jnp.ones(1)}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"A0": jnp.ones((2, 3))}, r"A0 has the shape \(2, 3\).*\(rank, n\)"),
        ({"B0": jnp.ones((3, 1))}, r"B0 has the shape \(3, 1\)"),
        ({"A0": jnp.ones((4, 4)), "B0": jnp.ones((3, 4))}, "rank = 4 must be"),
        ({"difference": jnp.ones(3)}, "one has the shape"),
        ({"difference": (jnp.ones((3, 2)), jnp.ones((4, 1)))}, "both factors of one width"),
        ({"difference": jnp.full((3, 4), jnp.nan)}, r"difference\[0, 0\] = nan is not finite"),
        ({"A0": jnp.ones((2, 4), jnp.float32)}, "dtypes differ.*A0 float32"),
        ({"ts": jnp.asarray([1.0, 0.5])}, "ts = .* rise"),
        ({"ts": jnp.asarray([-1.0])}, "ts = .* rise"),
        ({"ts": jnp.zeros(0)}, "at least one time"),
        ({"rtol": 1e-17}, "rtol = 1e-17 .* four roundings"),
        ({"atol": -1.0}, "atol = -1.0"),
        ({"reduce": "always"}, "reduce = 'always' is not one of"),
    ],
)
def test_bad_input(change, words):
    given = GOOD | {"reduce": "auto"} | change
    with pytest.raises(ValueError, match=words):
        lora.lora_flow(**given)


@pytest.fixture(scope="module")
def layers():
    """m != n != h, a difference of rank two in general position."""
    W1, W2 = normal(0, 6, 5) / 2, normal(1, 4, 6) / 2
    return tuple(map(jnp.asarray, (W1, W2, W2 @ W1 + normal(2, 4, 2) @ normal(3, 2, 5) / 2)))


@pytest.fixture(scope="module")
def adapters():
    A1, B1, A2, B2 = normal(4, 2, 5), normal(5, 6, 2), normal(6, 3, 6), normal(7, 4, 3)
    return lora.Adapters(*(jnp.asarray(x) / 4 for x in (A1, B1, A2, B2)))


def test_two_layers_follow_the_gradient(layers, adapters, dtype):
    """The flow's first instant is minus the gradient, by automatic differentiation; what it conserves, it conserves."""
    W1, W2, target = (x.astype(dtype) for x in layers)
    start = jax.tree.map(lambda x: x.astype(dtype), adapters)

    def loss(at):
        return jnp.sum((target - (W2 + at.B2 @ at.A2) @ (W1 + at.B1 @ at.A1)) ** 2) / 2

    single = dtype == "float32"
    h = 2.0**-7 if single else 2.0**-13
    found = lora.two_layer_lora_flow(
        W1, W2, target, start, jnp.asarray([h, 2 * h, 6.0], dtype), rtol=2e-6 if single else 1e-11, atol=1e-12
    )
    slope = jax.tree.map(lambda y0, y: (4 * y[0] - y[1] - 3 * y0) / (2 * h), start, found.adapters)
    # second-order differences: h^2 (with a third derivative of the order 10), and rounding over h
    for own, other in zip(slope, jax.grad(loss)(start), strict=True):
        assert np.allclose(own, -other, rtol=0, atol=2e-2 if single else 1e-6)
    last = jax.tree.map(lambda y: y[-1], found.adapters)
    assert found.loss[-1] == pytest.approx(float(loss(last)), rel=1e-3 if single else 1e-10)
    for A, B, A0, B0 in ((last.A1, last.B1, start.A1, start.B1), (last.A2, last.B2, start.A2, start.B2)):
        kept, old = lora.adapter_invariant(A, B), lora.adapter_invariant(A0, B0)
        assert np.allclose(kept, old, rtol=0, atol=1e-4 if single else 1e-9)


def test_loss_rate_is_the_slope_of_the_loss(layers, adapters):
    h = 1e-4
    found = lora.two_layer_lora_flow(*layers, adapters, jnp.asarray([0.0, h, 2 * h]), **TIGHT)
    slope = (4 * found.loss[1] - found.loss[2] - 3 * found.loss[0]) / (2 * h)
    assert float(slope) == pytest.approx(lora.loss_rate(*layers, adapters), rel=1e-5)


def test_a_start_along_the_pretrained_weights_alone_may_rest_for_ever():
    """Theorem G.1: the top direction of the weights knows nothing of a change in the other one; the gradient does."""
    W = jnp.diag(jnp.asarray([10.0, 1.0]))
    target = W @ W + jnp.diag(jnp.asarray([0.0, 2.0]))
    top, zero = 0.1 * jnp.eye(1, 2), jnp.zeros((2, 1))
    ts = jnp.asarray([10.0])
    assert float(lora.two_layer_lora_flow(W, W, target, (top, zero, top, zero), ts).loss[0]) == 2.0
    own = lora.spectral_init(W, W, target, 1, 0.1)
    assert float(lora.two_layer_lora_flow(W, W, target, own, ts).loss[0]) < 1e-9


def test_bad_layers(layers, adapters):
    W1, W2, target = layers
    with pytest.raises(ValueError, match=r"target has the shape \(5, 4\)"):
        lora.two_layer_lora_flow(W1, W2, target.T, adapters, TS)
    with pytest.raises(ValueError, match=r"W2 has the shape \(6, 4\)"):
        lora.two_layer_lora_flow(W1, W2.T, target, adapters, TS)
    with pytest.raises(ValueError, match=r"adapters.B1 has the shape"):
        lora.two_layer_lora_flow(W1, W2, target, (adapters.A1, adapters.A2, adapters.B1, adapters.B2), TS)
    with pytest.raises(ValueError, match="rank = 5 must be"):
        lora.spectral_init(W1, W2, target, 5, 0.1)
    with pytest.raises(ValueError, match="the gradient is zero"):
        lora.spectral_init(jnp.eye(2), jnp.eye(2), jnp.eye(2), 1, 0.1)
