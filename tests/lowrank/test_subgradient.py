"""OPSA and its relatives: closed forms of a step, exact recovery, and what stops a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import theorylab as tl
from theorylab import lowrank
from theorylab.numerics import normal

KEY = jax.random.key(0)
Method = lowrank.PreconditionedSubgradient


def step(method, problem, x0):
    """The state after one step."""

    @jax.jit
    def one(method, problem, x0):
        return method.step(problem, method.init(problem, KEY, x0), KEY)

    return one(method, problem, x0)


def factors(seed, n1, n2, rank, dtype="float64"):
    keys = jax.random.split(jax.random.key(seed))
    return tuple(normal(key, (n, rank), dtype) for key, n in zip(keys, (n1, n2), strict=True))


def by_hand(problem, x, damping, *, loss="absolute", regularised=False, preconditioner="gram"):
    """Subgradients, directions, squared length and gap in NumPy, from the formulas."""
    L, R = (np.asarray(f, float) for f in x)
    A, y = np.asarray(problem.operator.matrices, float), np.asarray(problem.observations, float)
    z, s = np.einsum("kij,ij->k", A, L @ R.T) - y, np.asarray(problem.noise, float)
    weights, terms = (np.sign(z), np.abs(z)) if loss == "absolute" else (z, z**2 / 2)
    at_truth = np.abs(s) if loss == "absolute" else s**2 / 2
    if preconditioner == "adaptive":
        damping = damping * np.sqrt(terms.mean())
    S = np.einsum("kij,k->ij", A, weights) / len(y)
    of = [S @ R, S.T @ L]
    if regularised:
        of = [of[0] + damping * L, of[1] + damping * R]
    eye = damping * np.eye(L.shape[1])
    along = of
    if preconditioner != "none":
        along = [of[0] @ np.linalg.inv(R.T @ R + eye), of[1] @ np.linalg.inv(L.T @ L + eye)]
    return along, np.sum(of[0] * along[0]) + np.sum(of[1] * along[1]), np.mean(terms - at_truth)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"regularised": True},
        {"preconditioner": "none"},
        {"step": "geometric", "step_size": 0.5, "decay": 0.9},
        {"loss": "squared"},
        {"loss": "squared", "step": "constant", "step_size": 0.3, "preconditioner": "adaptive"},
        {"loss": "squared", "step": "constant", "step_size": 0.01, "preconditioner": "none"},
    ],
    ids=["opsa", "regularised", "plain", "geometric", "scaled squares", "precgd", "gradient"],
)
def test_a_step_is_its_formula(corrupted, cast, dtype, options):
    x, problem = factors(1, 12, 10, 3, dtype), cast(corrupted, dtype)
    state = step(Method(0.7, **options), problem, x)
    described = {k: v for k, v in options.items() if k in ("loss", "regularised", "preconditioner")}
    along, squared, gap = by_hand(problem, x, 0.7, **described)
    rules = {"polyak": gap / squared, "geometric": 0.5 / np.sqrt(squared), "constant": options.get("step_size")}
    size = rules[options.get("step", "polyak")]
    # some thousand operations, and outliers ten times the data in the sums
    tolerance = 1e4 * np.finfo(dtype).eps
    for new, old, direction in zip(state.x, x, along, strict=True):
        assert new.dtype == dtype
        np.testing.assert_allclose(new, np.asarray(old, float) - size * direction, rtol=0, atol=tolerance)
    np.testing.assert_allclose(state.gap, gap, rtol=tolerance)
    X, moved = (np.asarray(L @ R.T, float) for L, R in (x, state.x))
    np.testing.assert_allclose(state.movement, np.linalg.norm(moved - X) / np.linalg.norm(X), rtol=tolerance)


def test_the_scalar_case_is_herons(dtype):
    """l r - x goes to (l r - x)^2 / (4 l r): Newton's method for the square root, with one clean measurement."""
    problem = lowrank.SensingProblem(lowrank.IdentitySensing((1, 1)), jnp.asarray([3], dtype), minimum=0.0)
    with pytest.warns(UserWarning, match="too small for its rank"):
        state = Method(0.0).init(problem, KEY, (jnp.full((1, 1), 4, dtype), jnp.full((1, 1), 2, dtype)))
    for _ in range(4):
        before = float(state.x[0][0, 0] * state.x[1][0, 0])
        state = Method(0.0).step(problem, state, KEY)
        after = float(state.x[0][0, 0] * state.x[1][0, 0])
        assert abs(after - 3 - (before - 3) ** 2 / (4 * before)) < 50 * np.finfo(dtype).eps


def test_robust_pca_moves_against_signs():
    """All entries seen: S is the matrix of signs over the number of entries."""
    x = factors(2, 6, 5, 2)
    Y = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)))
    problem = lowrank.SensingProblem(lowrank.IdentitySensing((6, 5)), Y.reshape(-1), minimum=0.1)
    state = step(Method(0.0, preconditioner="none"), problem, x)
    S = np.sign(x[0] @ x[1].T - Y) / 30
    of_L, of_R = S @ x[1], S.T @ x[0]
    size = (np.abs(x[0] @ x[1].T - Y).mean() - 0.1) / (np.sum(of_L**2) + np.sum(of_R**2))
    np.testing.assert_allclose(state.x[0], x[0] - size * of_L, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(state.x[1], x[1] - size * of_R, rtol=1e-12, atol=1e-13)


def test_bases_do_not_matter(corrupted):
    """Without damping for every basis, with it for rotations."""
    L, R = factors(3, 12, 10, 2)
    Q = jnp.asarray([[2.0, 1.0], [0.0, 0.5]])
    turn = jnp.linalg.qr(Q + 1.0)[0]
    products = {}
    for name, method, (a, b) in (
        ("plain", Method(0.0), (L, R)),
        ("basis", Method(0.0), (L @ Q, R @ jnp.linalg.inv(Q).T)),
        ("damped", Method(0.5), (L, R)),
        ("turned", Method(0.5), (L @ turn, R @ turn)),
    ):
        state = step(method, corrupted, (a, b))
        products[name] = state.x[0] @ state.x[1].T
    np.testing.assert_allclose(products["basis"], products["plain"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(products["turned"], products["damped"], rtol=0, atol=1e-12)
    assert np.abs(products["damped"] - products["plain"]).max() > 1e-3


def test_heavy_damping_is_the_plain_subgradient(corrupted):
    """The Polyak step takes the scale out: the directions differ by |R'R| / damping."""
    x = factors(4, 12, 10, 3)
    heavy, plain = step(Method(1e9), corrupted, x), step(Method(1.0, preconditioner="none"), corrupted, x)
    np.testing.assert_allclose(heavy.x[0], plain.x[0], rtol=0, atol=1e-7)


def run(problem, method, rank, steps, **keywords):
    x0 = lowrank.truncated_spectral_init(problem, rank, outliers=0.1)
    return tl.solve(method, problem, x0, key=KEY, steps=steps, **keywords)


@pytest.mark.parametrize(("damping", "rank", "steps"), [(0.0, 2, 150), (0.01, 4, 300)], ids=["exact", "over"])
def test_recovery_to_rounding(corrupted, damping, rank, steps):
    assert corrupted.error(run(corrupted, Method(damping), rank, steps).value) < 1e-13


def test_recovery_from_all_entries():
    problem = lowrank.completion_problem(KEY, shape=(20, 20), true_rank=1, outliers=0.1)
    assert problem.error(run(problem, Method(0.0), 1, 300).value) < 1e-10


def test_recovery_from_rank_one_measurements():
    X = lowrank.low_rank_matrix(KEY, (10, 10), 2)
    operator = lowrank.RankOneSensing(jax.random.key(1), (10, 10), 400)
    problem = lowrank.corrupted_problem(jax.random.key(2), operator, X, outliers=0.1)
    assert problem.error(run(problem, Method(1e-3), 2, 300).value) < 1e-9


def test_single_precision_survives_outliers(cast):
    """Errors of a hundred thousand times the data: the gap is summed term by term where the truth is known."""
    problem = lowrank.sensing_problem(
        KEY, shape=(12, 10), true_rank=2, measurements=400, outliers=0.1, outlier_scale=1e4
    )
    narrow = cast(problem, "float32")
    # with the minimum alone the sum of 400 terms of size 1e4 leaves 1e-3 at best
    x = jax.tree.map(lambda leaf: leaf.astype("float32"), _near(problem, 1e-3))
    exact = float(step(Method(1e-3), problem, _near(problem, 1e-3)).gap)
    found = float(step(Method(1e-3), narrow, x).gap)
    rounded_data = float(jnp.abs(problem.observations).max()) * np.finfo("float32").eps
    assert abs(found - exact) < rounded_data / 10  # rounding of the few hit entries alone, averaged over all
    whole = float(jnp.mean(jnp.abs(narrow.residual(x)))) - float(jnp.mean(jnp.abs(narrow.noise)))
    assert abs(found - exact) < abs(whole - exact)


def _near(problem, distance):
    U, values, Vt = jnp.linalg.svd(problem.solution, full_matrices=False)
    root = jnp.sqrt(values[None, :2])
    return U[:, :2] * root + distance, Vt[:2].T * root


def test_the_truth_is_a_fixed_point(corrupted):
    clean = lowrank.SensingProblem(corrupted.operator, jnp.zeros(400), minimum=0.0)
    x0 = jnp.zeros((12, 3)), jnp.zeros((10, 3))
    state = step(Method(0.1), clean, x0)
    assert jnp.all(state.x[0] == 0) and jnp.all(state.x[1] == 0) and state.gap == 0
    x0 = _near(corrupted, 0.0)
    assert corrupted.error(step(Method(0.0), corrupted, x0).x) < 1e-14


def test_a_minimum_that_is_too_large_stops_the_run(corrupted):
    truth = float(jnp.mean(jnp.abs(corrupted.noise)))
    high = lowrank.SensingProblem(corrupted.operator, corrupted.observations, minimum=truth + 0.3)
    solution = run(high, Method(0.01), 2, 200, until=lowrank.at_minimum())
    assert solution.status == tl.Status.stalled and solution.state.gap < 0
    still = run(high, Method(0.01), 2, 100, record=tl.Record(tl.every(1), loss=lambda p, s: p.loss(s.x)))
    losses = np.asarray(still.trace.loss)
    first = int(np.argmax(losses < truth + 0.3))
    assert first > 0 and np.all(losses[first:] == losses[first])  # below the bound nothing moves any more
    both = lowrank.SensingProblem(
        corrupted.operator, corrupted.observations, minimum=truth + 0.3, solution=corrupted.solution
    )
    x = factors(7, 12, 10, 2)
    np.testing.assert_allclose(step(Method(0.1), both, x).gap, step(Method(0.1), high, x).gap, rtol=1e-12)
    low = lowrank.SensingProblem(corrupted.operator, corrupted.observations, minimum=truth - 0.3)
    assert run(low, Method(0.01), 2, 200, until=lowrank.at_minimum()).status == tl.Status.max_steps


@pytest.mark.parametrize("options", [{}, {"step": "geometric", "decay": 0.9}], ids=["polyak", "geometric"])
def test_stops_that_need_no_truth(corrupted, options):
    """At the loss's minimum a run has converged; where none is known, all that can be said is that it stands still."""
    known = not options
    truth = jnp.mean(jnp.abs(corrupted.noise)) if known else None
    blind = lowrank.SensingProblem(corrupted.operator, corrupted.observations, minimum=truth)
    rule = lowrank.at_minimum(1e-6) if known else lowrank.settled(1e-6)
    solution = run(blind, Method(0.0, **options), 2, 500, until=rule)
    assert solution.status == (tl.Status.converged if known else tl.Status.stalled) and solution.steps < 200
    # the loss is sharp: its excess bounds the error, here within a factor of ten
    assert corrupted.error(solution.value) < 1e-4


def test_a_minimum_that_is_not_known_cannot_be_stopped_at(corrupted):
    blind = lowrank.SensingProblem(corrupted.operator, corrupted.observations)
    with pytest.raises(ValueError, match="does not know: pass minimum="):
        run(blind, Method(0.0, "geometric", 0.9), 2, 500, until=lowrank.at_minimum())


def test_lanes_that_share_the_measurements_are_single_runs(corrupted):
    method, x = Method(0.01), factors(5, 12, 10, 3)
    ys = corrupted.observations[None] * jnp.asarray([[1.0], [-2.0]])

    def end(operator, y):
        problem = lowrank.SensingProblem(operator, y, minimum=jnp.zeros(()))
        state = method.init(problem, KEY, x)
        return jax.lax.fori_loop(0, 5, lambda _, state: method.step(problem, state, KEY), state).x

    lanes = jax.jit(jax.vmap(end, (None, 0)))(corrupted.operator, ys)
    for i in range(2):
        for found, expected in zip(lanes, jax.jit(end)(corrupted.operator, ys[i]), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-11)


def test_several_devices_share_the_measurements(corrupted):
    """Rows of the operator and of all vectors of measurements lie on four devices; the factors on each."""
    mesh = Mesh(np.asarray(jax.devices()[:4]), "rows")

    def place(leaf):
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec("rows" if 400 in leaf.shape[:1] else None)))

    method, x0 = Method(0.1), factors(8, 12, 10, 3)
    shared = jax.tree.map(place, corrupted)
    assert len(shared.operator.rows.sharding.device_set) == 4
    found = tl.solve(method, shared, jax.tree.map(place, x0), key=KEY, steps=20)
    alone = tl.solve(method, corrupted, x0, key=KEY, steps=20)
    for a, b in zip(found.value, alone.value, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


def test_singular_gram_matrices_end_in_a_status(corrupted):
    """Without its solution a problem cannot say that the rank is too large; the run does."""
    blind = lowrank.SensingProblem(corrupted.operator, corrupted.observations, minimum=0.0)
    x0 = jnp.ones((12, 3)), jnp.ones((10, 3))
    assert tl.solve(Method(0.0), blind, x0, key=KEY, steps=5).status == tl.Status.nonfinite


def test_bad_input(corrupted):
    blind = lowrank.SensingProblem(corrupted.operator, corrupted.observations)
    for arguments, message in (
        ({"damping": -1.0}, "damping = -1.0 must be finite and >= 0"),
        ({"step": "newton"}, "(?s)step.*newton"),
        ({"loss": "huber"}, "(?s)loss.*huber"),
        ({"preconditioner": "full"}, "(?s)preconditioner.*full"),
        ({"decay": 0.9}, "step = 'polyak' does not use it"),
        (
            {"step": "geometric", "preconditioner": "none", "decay": 0.9},
            "step_size is None: step = 'geometric' needs it",
        ),
        ({"step": "geometric", "step_size": 1.0}, "decay is None: step = 'geometric' needs it"),
        ({"step": "constant"}, "step_size is None: step = 'constant' needs it"),
        ({"step": "geometric", "step_size": 1.0, "decay": 1.0}, r"decay = 1.0 must lie in \(0, 1\)"),
        ({"step": "constant", "step_size": 0.0}, "step_size = 0.0 must be positive"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Method(**{"damping": 0.1} | arguments)
    fits = factors(6, 12, 10, 3)
    for problem, method, x0, message in (
        (corrupted, Method(0.1), fits[::-1], r"x0 has the shapes .*: pass the factors \(L, R\), \(12, rank\)"),
        (corrupted, Method(0.1), jnp.zeros(3), "x0 has the shapes"),
        (corrupted, Method(0.1), factors(6, 12, 10, 11), "rank of x0 = 11 must be an integer from 1 to 10"),
        (corrupted, Method(0.0), fits, "damping = 0 with factors of rank 3, above the true rank 2"),
        (blind, Method(0.1), fits, "minimum is None"),
    ):
        with pytest.raises(ValueError, match=message):
            tl.solve(method, problem, x0, key=KEY, steps=1)
    small = lowrank.sensing_problem(KEY, shape=(6, 6), true_rank=1, measurements=24)
    with pytest.warns(UserWarning, match="rank 2 of a 6 x 6 matrix hold 24 numbers, and there are 24 measurements"):
        Method(0.1).init(small, KEY, factors(0, 6, 6, 2))
    for rule in (lowrank.at_minimum, lowrank.settled):
        with pytest.raises(ValueError, match=r"tol = 0\.0"):
            rule(0.0)
