"""A second call finds what was traced, and never an old value: whatever a function reads may have changed between."""

import collections
import functools
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Objective, Relax
from theorylab.engine._run import block, traces

X0 = jnp.asarray([1.0, 2.0])
SCALE = 1.0
TABLE = {"scale": [1.0]}
ARRAY = jnp.asarray([1.0, 1.0])
tools = types.ModuleType("tools")
tools.scale = 1.0


def minimise(loss, x0=X0, optimiser=None, **keywords):
    return tl.minimise(loss, x0, optimiser or optax.sgd(0.1), steps=2, **keywords).value


def solve(problem, method=None, **keywords):
    return tl.solve(method or tl.Gradient(optax.sgd, learning_rate=0.1), problem, X0, key=0, steps=2, **keywords).value


def helper():
    return SCALE


class Settings:
    scale = 1.0


class Slotted:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = 1.0


class Scaled:
    """A problem that is no pytree."""

    power = 2

    def __init__(self, scale=1.0):
        self.scale, self.inner = scale, {"deep": [1.0]}

    def factor(self):
        return self.scale * self.inner["deep"][0]

    @property
    def exponent(self):
        return self.power

    def loss(self, x, key):
        return self.factor() * jnp.sum(x**self.exponent)


class Powered(eqx.Module):
    power: int = eqx.field(static=True)

    def loss(self, x, key):
        return jnp.sum(x**self.power)


class Same(Relax):
    """Its step is the parent's."""


class Numbers(dict):
    """A dictionary by another name."""


# -- each gives a run, and a change after which it must give something else --------------------------------------------


def a_global(patch):
    return lambda: minimise(lambda x: SCALE * jnp.sum(x**2)), lambda: patch.setitem(globals(), "SCALE", 2.0)


def a_global_array(patch):
    return lambda: minimise(lambda x: jnp.sum(ARRAY * x)), lambda: patch.setitem(globals(), "ARRAY", 2 * ARRAY)


def a_global_of_a_helper(patch):
    return lambda: minimise(lambda x: helper() * jnp.sum(x**2)), lambda: patch.setitem(globals(), "SCALE", 2.0)


def a_helper(patch):
    return lambda: minimise(lambda x: helper() * jnp.sum(x**2)), lambda: patch.setitem(globals(), "helper", lambda: 3.0)


def a_global_by_its_name(patch):
    return (
        lambda: minimise(lambda x: globals()["SCALE"] * jnp.sum(x**2)),
        lambda: patch.setitem(globals(), "SCALE", 2.0),
    )


def a_container(patch):
    return lambda: minimise(lambda x: TABLE["scale"][0] * jnp.sum(x**2)), lambda: patch.setitem(TABLE, "scale", [2.0])


def a_module(patch):
    return lambda: minimise(lambda x: tools.scale * jnp.sum(x**2)), lambda: patch.setattr(tools, "scale", 2.0)


def an_import(patch):
    def loss(x):
        import sys

        return sys.modules[__name__].SCALE * jnp.sum(x**2)

    return lambda: minimise(loss), lambda: patch.setitem(globals(), "SCALE", 2.0)


def a_class_of_settings(patch):
    return lambda: minimise(lambda x: Settings.scale * jnp.sum(x**2)), lambda: patch.setattr(Settings, "scale", 2.0)


def a_variable_of_the_function_around(patch):
    scale = 1.0

    def change():
        nonlocal scale
        scale = 2.0

    return lambda: minimise(lambda x: scale * jnp.sum(x**2)), change


def an_array_of_the_function_around(patch):
    data = jnp.ones(2)

    def change():
        nonlocal data
        data = 2 * data

    return lambda: minimise(lambda x: jnp.sum(data * x)), change


def a_default(patch):
    def loss(x, *, more=(scale := [1.0])):
        return more[0] * jnp.sum(x**2)

    return lambda: minimise(loss), lambda: scale.__setitem__(0, 2.0)


def a_new_default(patch):
    def loss(x, scale=1.0):
        return scale * jnp.sum(x**2)

    return lambda: minimise(loss), lambda: setattr(loss, "__defaults__", (2.0,))


def numpy_in_place(patch):
    data = np.ones(2)
    return lambda: minimise(lambda x: jnp.sum(data * x)), lambda: np.multiply(data, 2, out=data)


def a_large_numpy_array_in_place(patch):
    data = np.ones((2, traces.LARGE // 8))
    return lambda: minimise(lambda x: jnp.sum(data[:, -1] * x)), lambda: np.multiply(data, 2, out=data)


def an_attribute(patch):
    held = types.SimpleNamespace(scale=1.0)
    return lambda: minimise(lambda x: held.scale * jnp.sum(x**2)), lambda: setattr(held, "scale", 2.0)


def a_slot(patch):
    held = Slotted()
    return lambda: minimise(lambda x: held.scale * jnp.sum(x**2)), lambda: setattr(held, "scale", 2.0)


def an_attribute_of_the_function(patch):
    def loss(x):
        return loss.scale * jnp.sum(x**2)

    loss.scale = 1.0
    return lambda: minimise(loss), lambda: setattr(loss, "scale", 2.0)


def a_kind_of_dictionary(patch):
    held = Numbers(scale=1.0)
    return lambda: minimise(lambda x: held["scale"] * jnp.sum(x**2)), lambda: held.update(scale=2.0)


def a_queue(patch):
    held = collections.deque([1.0])
    return lambda: minimise(lambda x: held[0] * jnp.sum(x**2)), lambda: held.appendleft(2.0)


def a_bound_method(patch):
    held = Scaled()
    return lambda: minimise(held.loss, args=(None,)), lambda: setattr(held, "scale", 2.0)


def a_partial(patch):
    scale = [1.0]
    loss = functools.partial(lambda scale, x: scale[0] * jnp.sum(x**2), scale)
    return lambda: minimise(loss), lambda: scale.__setitem__(0, 2.0)


def a_problem(patch):
    problem = Scaled()
    return lambda: solve(problem), lambda: setattr(problem, "scale", 2.0)


def deep_in_a_problem(patch):
    problem = Scaled()
    return lambda: solve(problem), lambda: problem.inner["deep"].__setitem__(0, 2.0)


def an_attribute_of_its_class(patch):
    return lambda: solve(Scaled()), lambda: patch.setattr(Scaled, "power", 3)


def a_method_of_a_problem(patch):
    return lambda: solve(Scaled()), lambda: patch.setattr(Scaled, "factor", lambda self: 3.0)


def a_property_of_a_problem(patch):
    return lambda: solve(Scaled()), lambda: patch.setattr(Scaled, "exponent", property(lambda self: 4))


def a_static_field(patch):
    powers = [2]
    return lambda: solve(Powered(powers[0])), lambda: powers.__setitem__(0, 3)


def a_step(patch):
    def step(self, problem, state, key):
        return tl.engine.State(state.x / 2)

    run = functools.partial(solve, Linear(jnp.ones(2), jnp.zeros(2)), Same(0.1))
    return run, lambda: patch.setattr(Relax, "step", step)


def a_step_of_the_library(patch):
    original = tl.Gradient.step

    def step(self, problem, state, key):
        return eqx.tree_at(lambda s: s.x, original(self, problem, state, key), state.x / 2)

    return lambda: solve(Scaled()), lambda: patch.setattr(tl.Gradient, "step", step)


def an_optimiser(patch):
    rate = [0.1]
    return lambda: minimise(lambda x: jnp.sum(x**2), optimiser=optax.sgd(rate[0])), lambda: rate.__setitem__(0, 0.2)


def a_schedule(patch):
    rate = [0.1]
    return (
        lambda: minimise(lambda x: jnp.sum(x**2), optimiser=optax.sgd(lambda t: rate[0])),
        lambda: rate.__setitem__(0, 0.2),
    )


def the_rule(patch):
    level = [0.0]
    stop = functools.partial(minimise, lambda x: jnp.sum(x**2), until=lambda problem, state: state.x[0] < level[0])
    return stop, lambda: level.__setitem__(0, 9.0)


def the_precision_of_numbers(patch):
    data = np.asarray([1.0, 1 + 1e-12])  # equal in float32
    x64 = [True]

    def run():
        with jax.enable_x64(x64[0]):
            return minimise(lambda x: 1e12 * jnp.sum((jnp.asarray(data) - 1) * x), jnp.ones(2))

    return run, lambda: x64.__setitem__(0, False)


def the_type_of_a_number(patch):
    """1 and 1.0 are equal, and not the same to a trace."""
    number = [1]
    x0 = jnp.ones(2, "float32")

    def run():
        one = number[0]
        with jax.numpy_dtype_promotion("standard"):
            return minimise(lambda x: jnp.sum(x) * jnp.asarray(one).dtype.itemsize * (1 + isinstance(one, float)), x0)

    return run, lambda: number.__setitem__(0, 1.0)


def _swept(build, **over):
    return tl.sweep(build, over={"rate": [0.1, 0.2]} | over, seeds=2, key=0, steps=2).value.values


def a_sweep(patch):
    scale = [1.0]

    def build(key, *, rate):
        return tl.Gradient(optax.sgd, learning_rate=rate), Objective(lambda x, key: scale[0] * jnp.sum(x**2)), X0

    return lambda: _swept(build), lambda: scale.__setitem__(0, 2.0)


def what_an_axis_of_a_sweep_touches(patch):
    """Another problem depends on the axis than before."""
    own = [False]

    def build(key, *, rate):
        return Relax(0.1), Linear(jnp.ones(2) * (rate if own[0] else 1.0), jnp.ones(2)), X0

    return lambda: _swept(build), lambda: own.__setitem__(0, True)


def a_static_axis_of_a_sweep(patch):
    """Of objects that look alike."""
    values = [np.array([Numbers(s=1.0)], dtype=object)]
    patch.setattr(Numbers, "__repr__", lambda self: "numbers")

    def build(key, *, rate, held):
        return tl.Gradient(optax.sgd, learning_rate=rate), Objective(lambda x, key: held["s"] * jnp.sum(x**2)), X0

    return lambda: _swept(build, held=values[0]), lambda: values.__setitem__(
        0, np.array([Numbers(s=2.0)], dtype=object)
    )


def without_a_module(patch):
    """Classes and functions of code that is run without a name pass for those of `builtins`."""
    names = {"jnp": jnp}
    exec("class P:\n    def loss(self, x, key):\n        return scale * jnp.sum(x**2)\nscale = 1.0", names)
    return lambda: solve(names["P"]()), lambda: names.update(scale=2.0)


def a_step_of_equinox(patch):
    layer = eqx.nn.Linear(2, 1, key=jax.random.key(0))

    def twice(self, x):
        return 2 * self.weight @ x

    return lambda: minimise(lambda x: jnp.sum(layer(x) ** 2)), lambda: patch.setattr(eqx.nn.Linear, "__call__", twice)


def a_file(patch):
    table = [np.ones(2)]
    patch.setattr(np, "load", lambda name: table[0])
    return lambda: minimise(lambda x: jnp.sum(np.load("data.npy") * x)), lambda: table.__setitem__(0, 2 * np.ones(2))


CHANGES = [
    a_global, a_global_array, a_global_of_a_helper, a_helper, a_global_by_its_name, a_container, a_module,
    an_import, a_class_of_settings, a_variable_of_the_function_around, an_array_of_the_function_around, a_default,
    a_new_default, numpy_in_place, a_large_numpy_array_in_place, an_attribute, a_slot, an_attribute_of_the_function,
    a_kind_of_dictionary, a_queue, a_bound_method, a_partial, a_problem, deep_in_a_problem,
    an_attribute_of_its_class, a_method_of_a_problem, a_property_of_a_problem, a_static_field, a_step,
    a_step_of_the_library, an_optimiser, a_schedule, the_rule, a_sweep, what_an_axis_of_a_sweep_touches,
    a_static_axis_of_a_sweep, without_a_module, a_step_of_equinox, a_file, the_precision_of_numbers,
    the_type_of_a_number,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_old_value_is_found(change, monkeypatch):
    run, act = change(monkeypatch)
    before = np.asarray(run())
    assert np.array_equal(run(), before)
    act()
    after = np.asarray(run())
    traces.forget()
    assert np.array_equal(after, run()) and not np.array_equal(after, before)


def test_what_is_drawn_while_tracing_is_drawn_again():
    def loss(x):
        return np.random.default_rng().normal() * jnp.sum(x)

    assert not np.array_equal(minimise(loss), minimise(loss))


def test_memory_that_numpy_shares_is_copied():
    """The first trace holds the ones that `data` held then, whatever became of its memory."""
    data = np.ones(2)
    first = minimise(lambda x: jnp.sum(data * x))
    data *= 2
    other = np.ones(2)
    assert np.array_equal(first, _of(other)) and not np.array_equal(first, _of(data))


def _of(data):
    return minimise(lambda x: jnp.sum(data * x))


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.default_matmul_precision("bfloat16"),
        lambda: jax.numpy_dtype_promotion("standard"),
        lambda: jax.numpy_rank_promotion("allow"),
        lambda: jax.enable_x64(False),
        lambda: jax.default_device(jax.devices()[1]),
        lambda: jax.default_prng_impl("rbg"),
    ],
    ids=["precision", "dtypes", "ranks", "x64", "device", "keys"],
)
def test_a_setting_of_jax_makes_it_another_code(setting):
    def loss(x):
        return jnp.sum(x**2)

    before = traces.kept(loss)
    assert before is traces.kept(loss)
    with setting():
        assert traces.kept(loss) is not before
    assert traces.kept(loss) is before


# -- and what is the same is found -------------------------------------------------------------------------------------


def lambdas():
    record = tl.Record(tl.every(1), e=lambda problem, state: jnp.sum(state.x), m=tl.Mean(lambda p, s: s.x))
    rule = tl.below(lambda problem, state: jnp.linalg.norm(state.x), 1e-9) | (lambda problem, state: state.x[0] < 0)
    return minimise(lambda x: jnp.sum(x**2), optimiser=optax.adam(0.1), record=record, until=rule)


def closures():
    name, count, factor, data, table = "b", 2, 0.5, ARRAY, np.arange(2.0)
    net = _network()
    return minimise(lambda x: {"b": factor}[name] * jnp.sum((data + table) * x**count) + jnp.sum(net(x[:1])) + helper())


@functools.cache
def _network():
    return eqx.nn.MLP(1, 1, 2, 1, key=jax.random.key(0))


def a_game():
    game = tl.games.AffineGame(jnp.stack([jnp.eye(2), 2 * jnp.eye(2)]), jnp.ones((2, 2)))
    return solve(game, tl.games.Extragradient(0.1, 0.2, order="once"))


def networks():
    net = _network()
    game = tl.games.min_max(lambda u, v, i: jnp.sum(u(X0[:1]) * v(X0[:1])), 2, start=(net, net))
    return jax.tree.leaves(tl.solve(tl.games.GradientDescentAscent(0.1), game, key=0, steps=2).value)[0]


def a_problem_of_ones_own():
    return solve(Scaled())


def a_small_sweep():
    def build(key, *, rate):
        return Relax(rate), Linear(jnp.ones(2) + jax.random.normal(key, (2,)), 0 * X0), X0

    return _swept(build)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "run", [lambdas, closures, a_game, networks, a_problem_of_ones_own, a_small_sweep], ids=lambda f: f.__name__
)
def test_the_same_is_found(run, monkeypatch, compilations):
    first = np.asarray(run())

    def refuse(*args):
        raise AssertionError("traced again")

    monkeypatch.setattr(block, "trace", refuse)
    with compilations() as count:
        assert np.array_equal(run(), first)
        assert count() == 0


def test_arrays_that_are_arguments_may_change(monkeypatch):
    run = functools.partial(tl.solve, key=0, steps=3)
    run(Relax(0.1), Linear(jnp.ones(2), jnp.ones(2)), X0)
    expected = 1 + (1 - 0.2 * 2) ** 3 * (3.0 * X0 - 1)
    monkeypatch.setattr(block, "trace", None)
    found = run(Relax(0.2), Linear(2 * jnp.ones(2), 2 * jnp.ones(2)), 3.0 * X0).value
    np.testing.assert_allclose(found, expected, rtol=1e-14)


class Shy:
    def __getattribute__(self, name):
        raise RuntimeError(name)


def test_an_object_that_cannot_be_looked_at_ends_no_run():
    shy = Shy()
    found = minimise(lambda x: jnp.sum(x) if shy is not None else 0 * x)
    np.testing.assert_allclose(found, X0 - 0.2, rtol=1e-14)


def test_few_traces_are_kept():
    codes = [traces.kept(power) for power in range(2 * traces.KEPT)]
    assert traces.kept(0) is not codes[0] and traces.kept(2 * traces.KEPT - 1) is codes[-1]
    assert len(traces._kept) == traces.KEPT
