"""Recovery theory: restricted constants against their limits, rates, sizes, and the claims beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from theorylab import lowrank
from theorylab.lowrank.claims import opsa_robust_recovery

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def operator():
    return lowrank.GaussianSensing(KEY, (12, 12), 3000)


@pytest.mark.parametrize(("outliers", "support"), [(0.0, "random"), (0.2, "random"), (0.1, "worst")])
def test_gaussian_constants_are_the_limits(operator, outliers, support):
    found = lowrank.restricted_constants(operator, 2, key=KEY, outliers=outliers, support=support, draws=100)
    limit = lowrank.gaussian_constants(outliers, support)
    # the matrices share one operator: its own scatter is below that of one matrix over m measurements
    shared = np.sqrt(1 / 3000)
    for name, more in (("lipschitz", shared), ("sharpness", shared), ("chi", 2 * limit.chi * shared / limit.sharpness)):
        value, error = getattr(found, name)
        assert abs(value - getattr(limit, name)) < 4 * error + more
    assert found.smallest <= found.sharpness.value <= found.lipschitz.value <= found.largest
    assert found.empirical_chi >= found.chi.value >= 1


def test_the_scatter_over_matrices(operator):
    """The ratio of one matrix has the variance (1 - 2 / pi) / m over measurements."""
    found = lowrank.restricted_constants(operator, 2, key=KEY, draws=400)
    expected = np.sqrt((1 - 2 / np.pi) / 3000 / 400)
    # a standard deviation from 400 draws is known to 1 / sqrt(800); matrices of one operator are a little alike
    assert abs(found.lipschitz.standard_error / expected - 1) < 4 / np.sqrt(800) + 0.1


def test_breakdown_of_the_limits():
    assert lowrank.gaussian_constants(0.25).chi == pytest.approx(2.0, rel=1e-14)
    assert lowrank.gaussian_constants(0.5).chi == np.inf
    # P(|g| > sqrt(2 ln 2))
    assert (
        lowrank.gaussian_constants(0.238, "worst").chi < np.inf
        and lowrank.gaussian_constants(0.24, "worst").chi == np.inf
    )
    for p in (0.01, 0.1, 0.2):
        assert lowrank.gaussian_constants(p, "worst").sharpness < lowrank.gaussian_constants(p).sharpness


def test_identity_measures_the_sum_of_entries():
    """For all entries the ratio lies between 1 / (n1 n2) and 1 / sqrt(n1 n2), by norms alone."""
    found = lowrank.restricted_constants(lowrank.IdentitySensing((5, 4)), 2, key=KEY, draws=50)
    assert found.smallest > 1 / 20 and found.largest < 1 / np.sqrt(20)


def test_the_population_step():
    """Many clean measurements, the true rank, no damping: the error shrinks as derived, for every share of it."""
    n, m, distance = 4, 40_000, 1e-3
    problem = lowrank.sensing_problem(KEY, shape=(n, n), true_rank=1, measurements=m)
    U, values, Vt = jnp.linalg.svd(problem.solution)
    u, v = U[:, :1] * jnp.sqrt(values[0]), Vt[:1].T * jnp.sqrt(values[0])
    method = lowrank.PreconditionedSubgradient(0.0)

    @jax.jit
    def ratio(problem, along, across):
        x = u + distance * (along * u + across * U[:, 1:2]), v
        before = problem.error(x)
        return problem.error(method.step(problem, method.init(problem, KEY, x), KEY).x) / before

    for along, across in ((1.0, 0.0), (0.0, 1.0), (1.0, np.sqrt(2.0)), (1.0, 1.0)):
        share = along**2 / (along**2 + across**2)
        # the sign vector's adjoint has the noise n (1 + 1) / m beside 2 / pi; the step is of second order in distance
        tolerance = 4 * np.sqrt(2 * n / m * np.pi / 2) + 10 * distance
        assert abs(float(ratio(problem, along, across)) - lowrank.derived_contraction(share)) < tolerance
    shares = np.linspace(0, 1, 1001)
    assert lowrank.derived_contraction(shares).max() <= 1 / np.sqrt(8) + 1e-15


def test_a_run_is_faster_than_claimed(corrupted):
    x0 = lowrank.truncated_spectral_init(corrupted, 2, outliers=0.1)
    run = tl.solve(
        lowrank.PreconditionedSubgradient(0.0),
        corrupted,
        x0,
        key=KEY,
        steps=120,
        record=tl.Record(tl.every(1), error=lambda problem, state: problem.error(state.x)),
    )
    errors = np.asarray(run.trace.error)
    fit = lowrank.measured_contraction(errors[errors < 1e-2], floor=1e-12)
    chi = lowrank.gaussian_constants(0.1).chi
    assert fit.value + 4 * fit.standard_error < opsa_robust_recovery.contraction(chi)


def test_measured_contraction():
    steps = np.asarray([0, 10, 20, 30])
    fit = lowrank.measured_contraction(2.0 * 0.9**steps, steps)
    assert fit.value == pytest.approx(0.9, rel=1e-13) and fit.standard_error < 1e-13
    assert np.isnan(lowrank.measured_contraction([1.0, 0.1, 1e-20, np.nan], floor=1e-15).value)
    rng = np.random.default_rng(0)
    fits = [lowrank.measured_contraction(0.8 ** np.arange(20) * np.exp(0.1 * rng.normal(size=20))) for _ in range(300)]
    scatter = np.std([fit.value for fit in fits])
    assert abs(np.mean([fit.standard_error for fit in fits]) / scatter - 1) < 4 / np.sqrt(600)


def test_claims():
    assert opsa_robust_recovery.contraction(1.0) == pytest.approx(np.sqrt(0.88), rel=1e-15)
    assert opsa_robust_recovery.contraction(2.0) > opsa_robust_recovery.contraction(1.0)
    assert opsa_robust_recovery.radius(1.0, 3.0) == pytest.approx(0.06, rel=1e-15)


def test_sizes_and_breakdown_are_inverse():
    sizes = lowrank.samples_needed((30, 20), 3, outliers=0.2)
    assert sizes.necessary == 3 * 47 and sizes.rule == 150 and sizes.sufficient > sizes.rule
    assert lowrank.breakdown((30, 20), 3, int(np.ceil(sizes.sufficient))) == pytest.approx(0.2, abs=1e-4)
    assert (
        lowrank.breakdown((30, 20), 3, 100) == 0
        and lowrank.samples_needed((9, 9), 1, outliers=0.5).sufficient == np.inf
    )
    assert lowrank.breakdown((30, 20), 3, 10**12) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("rank", "damping"), [(2, 0.0), (4, 0.3)])
def test_aligned_distance(corrupted, rank, damping):
    """Zero on the truth in any basis; bounded by its value at Q = I, and a bound of the error, X being what matters."""
    U, values, Vt = np.linalg.svd(np.asarray(corrupted.solution))
    pad = np.where(np.arange(rank) < 2, values[:rank], 0.0)
    exact = U[:, :rank] * np.sqrt(pad), Vt[:rank].T * np.sqrt(pad)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(rank, rank)))[0]
    turned = tuple(jnp.asarray(factor @ turn) for factor in exact)
    assert lowrank.aligned_distance(turned, corrupted.solution, damping) < 1e-6
    moved = tuple(jnp.asarray(factor + 0.01) for factor in exact)
    weight = pad + damping
    there = np.sqrt(sum(np.sum(0.01**2 * np.ones_like(factor) * weight) for factor in exact))
    found = lowrank.aligned_distance(moved, corrupted.solution, damping)
    error = float(corrupted.error(moved) * jnp.linalg.norm(corrupted.solution))
    assert 0 < found <= there * (1 + 1e-9) and (damping > 0 or error <= 1.5 * found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: lowrank.restricted_constants(o, 13, key=KEY), "rank = 13"),
        (lambda o: lowrank.restricted_constants(o, 2, key=KEY, outliers=1.0), "outliers = 1.0"),
        (lambda o: lowrank.restricted_constants(o, 2, key=KEY, support="bad"), "support must be 'random' or 'worst'"),
        (lambda o: lowrank.restricted_constants(o, 2, key=KEY, draws=1), "draws = 1"),
        (lambda o: lowrank.gaussian_constants(-0.1), "outliers = -0.1"),
        (lambda o: opsa_robust_recovery.contraction(0.5), "chi = 0.5"),
        (lambda o: opsa_robust_recovery.radius(1.0, 0.0), "smallest = 0.0"),
        (lambda o: lowrank.derived_contraction(1.5), "share = 1.5"),
        (lambda o: lowrank.measured_contraction([1.0, 2.0], [1.0]), "pass two vectors of one length"),
        (lambda o: lowrank.breakdown((3, 3), 1, 0), "measurements = 0"),
        (lambda o: lowrank.samples_needed((3, 3), 4), "rank = 4"),
    ],
)
def test_bad_input(operator, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(operator)
