"""Projections and proximal maps have their defining properties, and constrained games reach known equilibria."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import theorylab as tl
from theorylab import games
from theorylab.games.constraints import Constrained, ball, box, l1, natural_residual, nonnegative, simplex
from theorylab.numerics import normal

KEY = jax.random.key(5)
D = 6
MAPS = {
    "box": box(-0.5, np.linspace(0.0, 2.0, D)),
    "half-line": box(-np.inf, 0.25),
    "nonnegative": nonnegative(),
    "ball": ball(1.5),
    "ball elsewhere": ball(0.5, np.arange(float(D))),
    "simplex": simplex(),
    "simplex of 3": simplex(3.0),
}


def points(dtype, count=40, scale=2.0):
    return scale * normal(KEY, (count, D), dtype)


@pytest.fixture(params=MAPS)
def project(request):
    return jax.jit(jax.vmap(lambda x: MAPS[request.param](x, 1.0)))


def test_a_projection_is_the_nearest_point(project, dtype):
    """<x - Px, y - Px> <= 0 for all x and all y of the set (here projections too), which is what defines it."""
    x = points(dtype)
    near = project(x)
    assert near.dtype == dtype and float(jnp.abs(near - x).max()) > 0.1
    products = jnp.einsum("ad,abd->ab", x - near, near[None] - near[:, None])
    # rounding of sums of D products of entries up to 10
    assert float(products.max()) <= 1000 * float(jnp.finfo(dtype).eps)


def test_fixed_points_and_nonexpansiveness(project, dtype):
    x = points(dtype)
    near, rounding = project(x), 100 * float(jnp.finfo(dtype).eps)
    assert float(jnp.abs(project(near) - near).max()) <= rounding
    before, after = (jnp.linalg.norm(p[:20] - p[20:], axis=1) for p in (x, near))
    assert float((after - before).max()) <= rounding


def test_closed_forms():
    x = points("float64")
    assert jnp.array_equal(jax.vmap(lambda x: nonnegative()(x, 1.0))(x), jnp.maximum(x, 0))
    assert jnp.array_equal(jax.vmap(lambda x: box(-1.0, 0.5)(x, 1.0))(x), jnp.clip(x, min=-1.0, max=0.5))
    outside = jnp.linalg.norm(x, axis=1, keepdims=True)
    near = jax.vmap(lambda x: ball(0.1)(x, 1.0))(x)
    assert float(outside.min()) > 0.1 and jnp.allclose(near, 0.1 * x / outside, rtol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 0.01, 50.0])
def test_simplex_against_bisection(scale):
    """sum max(x - tau, 0) = scale by bisection in tau, which knows nothing of sorting."""
    x = np.asarray(points("float64", scale=3.0))
    low, high = x.min(axis=1) - scale, x.max(axis=1)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.maximum(x - middle[:, None], 0).sum(axis=1) > scale
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    expected = np.maximum(x - low[:, None], 0)
    found = jax.vmap(lambda x: simplex(scale)(x, 1.0))(jnp.asarray(x))
    assert np.allclose(found, expected, rtol=0, atol=1e-13 * max(scale, 1))
    assert (found >= 0).all() and np.allclose(found.sum(axis=1), scale, rtol=1e-14)


def test_simplex_far_from_its_set():
    """Entries of 1e9 in float32, where a sum of entries would have lost a scale of one."""
    x = jnp.full(D, 1e9, jnp.float32).at[0].add(-1e4)
    assert jnp.allclose(simplex()(x, 1.0), jnp.full(D, 0.2).at[0].set(0.0).astype("float32"), rtol=1e-6)


def test_simplex_differentiates_to_the_projection_onto_its_face():
    """On k free entries the derivative is I - 1/k, and 0 on the others."""
    jacobian = jax.jacobian(lambda x: simplex()(x, 1.0))(jnp.asarray([0.9, 0.7, 0.5, -3.0]))
    expected = np.zeros((4, 4))
    expected[:3, :3] = np.eye(3) - 1 / 3
    assert np.allclose(jacobian, expected, rtol=0, atol=1e-15)


def test_soft_threshold_solves_its_problem(dtype):
    """(x - p) / step is in weight times the subdifferential of |p|_1."""
    x, step, weight = points(dtype), 0.5, 1.5
    near = jax.vmap(lambda x: l1(weight)(x, step))(x)
    force = np.asarray((x - near) / step, float)
    zero = np.asarray(near) == 0
    rounding = 10 * float(jnp.finfo(dtype).eps)
    assert near.dtype == dtype and 0.1 < zero.mean() < 0.9
    assert (np.abs(force[zero]) <= weight).all()
    assert np.allclose(force[~zero], weight * np.sign(near)[~zero], rtol=0, atol=10 * rounding)
    assert jnp.array_equal(l1(weight)(x[0], 0.0), x[0])


def test_maps_of_pytrees():
    """One map for a whole tree: the ball and the simplex count its leaves together, the box takes bounds by leaf."""
    x = {"a": jnp.asarray([30.0]), "b": jnp.asarray([0.0, 40.0])}
    for move, expected in (
        (ball(10.0), {"a": [6.0], "b": [0.0, 8.0]}),
        (simplex(20.0), {"a": [5.0], "b": [0.0, 15.0]}),
        (box({"a": 0.0, "b": 1.0}, 2.0), {"a": [2.0], "b": [1.0, 2.0]}),
    ):
        assert jax.tree.map(lambda leaf: leaf.tolist(), move(x, 1.0)) == expected


def test_parts_of_x_have_maps_of_their_own():
    game = games.FiniteSum(lambda i, x: x, 3, start={"u": {"p": 5 * jnp.ones(2)}, "v": jnp.ones(2), "w": jnp.ones(1)})
    constrained = Constrained(game, {"u": {"p": ball(1.0)}, "v": lambda part, step: part - step, "w": None})
    found = constrained.prox(game.start, 0.25)
    assert jnp.allclose(found["u"]["p"], np.sqrt(0.5)) and found["v"].tolist() == [0.75, 0.75]
    assert found["w"].tolist() == [1.0]
    assert (constrained.n, constrained.solution) == (3, None)
    assert constrained.component(0, game.start) is game.start
    # at the start a proximal term is left out: its step is 0
    assert constrained.initial(KEY)["v"].tolist() == [1.0, 1.0] and constrained.initial(KEY)["u"]["p"][0] < 1
    assert not hasattr(constrained, "minibatch")


def test_bounds_are_leaves(compilations):
    """Other bounds compile nothing; lanes may have their own."""
    run = jax.jit(lambda game, x: game.prox(x, 1.0))
    game = games.FiniteSum(lambda i, x: x, 1)
    x = 3 * jnp.ones(2)
    run(Constrained(game, box(0.0, 1.0)), x)
    with compilations() as count:
        found = run(Constrained(game, box(0.0, 2.0)), x)
        assert count() == 0
    assert found.tolist() == [2.0, 2.0]
    lanes = jax.vmap(lambda radius: ball(radius)(x, 1.0))(jnp.asarray([1.0, 2.0]))
    assert jnp.allclose(jnp.linalg.norm(lanes, axis=1), jnp.asarray([1.0, 2.0]), rtol=1e-15)


def test_natural_residual_vanishes_at_solutions_alone():
    """min (x - 3)^2 / 2 on [0, 1], x pulled by an l1 term, and free: the solutions 1, 2 and 3."""
    game = games.FiniteSum(lambda i, x: x - 3.0, 2)
    for constraint, solution in ((box(0.0, 1.0), 1.0), (l1(1.0), 2.0), (None, 3.0)):
        problem = Constrained(game, constraint)
        for step in (0.1, 1.0, 5.0):
            found = jax.vmap(lambda x, problem=problem, step=step: natural_residual(problem, x, step))(
                solution + jnp.asarray([0.0, -0.5])
            )
            assert abs(float(found[0])) < 1e-15 / step and float(found[1]) > 0.09
    assert float(natural_residual(game, jnp.asarray(1.0))) == 2.0


def equilibrium(matrix):
    """min_u max_v u^T M v on two simplices, by two linear programmes."""
    rows, columns = matrix.shape
    strategies = []
    for table, n, m in ((matrix.T, rows, columns), (-matrix, columns, rows)):
        found = linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=np.column_stack([table, -np.ones(m)]),
            b_ub=np.zeros(m),
            A_eq=np.append(np.ones(n), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, None)] * n + [(None, None)],
        )
        strategies.append((found.x[:-1], found.x[-1]))
    return strategies


ROCK_PAPER_SCISSORS = np.asarray([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])


@pytest.mark.parametrize(
    "matrix",
    [ROCK_PAPER_SCISSORS, np.random.default_rng(0).standard_normal((3, 3))],
    ids=["rock-paper-scissors", "random"],
)
def test_extragradient_reaches_the_equilibrium_of_a_matrix_game(matrix):
    """Three components, multiples of one matrix: they share the equilibrium, so that no noise is left at it."""
    (u, value), (v, other) = equilibrium(matrix)
    assert value == pytest.approx(-other, abs=1e-12)
    scale = 1.5 * np.linalg.norm(matrix, 2)  # the largest Lipschitz constant of a component
    data = jnp.asarray(matrix)[None] * jnp.asarray([0.5, 1.0, 1.5])[:, None, None]
    start = (jnp.asarray([1.0, 0.0, 0.0]), jnp.asarray([0.0, 0.0, 1.0]))
    bilinear = games.min_max(lambda u, v, i, data: u @ data[i] @ v, 3, data=data, start=start)
    game = Constrained(bilinear, (simplex(), simplex()))
    solution = tl.solve(
        games.Extragradient(0.5 / scale, 0.5 / scale),
        game,
        key=KEY,
        steps=5000,
        until=tl.below(lambda problem, state: natural_residual(problem, state.x), 1e-10, every=20),
    )
    assert solution.status == tl.Status.converged
    assert np.allclose(solution.value[0], u, rtol=0, atol=1e-8)
    assert np.allclose(solution.value[1], v, rtol=0, atol=1e-8)
    assert float(solution.value[0] @ jnp.asarray(matrix) @ solution.value[1]) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("constraint", [*MAPS.values(), l1(0.3)], ids=[*MAPS, "l1"])
def test_methods_keep_the_dtype_and_may_be_differentiated(constraint, dtype):
    """An epoch of x - c_i: its value's dtype, and its derivative by the step size against a difference quotient."""
    targets = jnp.asarray(points("float64", count=3), dtype)
    game = Constrained(games.FiniteSum(lambda i, x, c: x - c[i], 3, data=targets, start=targets[0]), constraint)

    def epoch(step_size):
        method = games.Extragradient(step_size, step_size, "cyclic")
        return method.step(game, method.init(game, KEY), KEY).x

    step_size = jnp.asarray(0.2, dtype)
    value, slope = jax.jvp(epoch, (step_size,), (jnp.ones_like(step_size),))
    assert value.dtype == slope.dtype == dtype
    width = float(jnp.finfo(dtype).eps) ** (1 / 3)
    quotient = (epoch(step_size + width) - epoch(step_size - width)) / (2 * width)
    # truncation and rounding are about width^2, of third derivatives and of values up to ten
    assert np.allclose(slope, quotient, rtol=0, atol=100 * width**2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: box(1.0, 0.0), "lower = .* must be at most upper"),
        (lambda: box(np.nan, 0.0), "lower = .* NaN"),
        (lambda: ball(0.0), "radius = 0.0 must be positive"),
        (lambda: simplex(-1.0), "scale = -1.0 must be positive"),
        (lambda: l1(np.inf), "weight = inf must be positive"),
        (lambda: Constrained(tl.games.FiniteSum(lambda i, x: x, 1), {"u": 1.0}), "constraint holds 1.0"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_constraints_that_do_not_fit():
    game = games.FiniteSum(lambda i, x: x, 1)
    with pytest.raises(ValueError, match="constraint does not fit x"):
        Constrained(game, {"u": simplex()}).prox({"w": jnp.ones(2)}, 1.0)
    with pytest.raises(ValueError, match="constraint gives"):
        Constrained(game, lambda x, step: jnp.sum(x)).prox(jnp.ones(2), 1.0)
