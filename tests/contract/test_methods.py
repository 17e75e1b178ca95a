"""What every method promises: each one finds itself here, and runs its example of `tests/<room>/examples.py`."""

import importlib
import inspect
import pkgutil

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import theorylab as tl
from tests.contract.examples import found
from theorylab.engine.status import INVALID, MAX_STEPS

EXAMPLES = found("METHODS")
KEY, OTHER_KEY = jax.random.key(0), jax.random.key(7)
STEPS, BORDER = 20, 8
WHOLE, FIRST, REST = (0, 8, 20), (0, 4, 8), (12, 16, 20)  # three rows in every run, so that one program serves all
ROUNDINGS = 1000  # operations on one number in twenty steps; the examples' steps amplify none of them


def concrete_methods():
    """All methods of the library, by a walk through its modules."""
    for info in pkgutil.walk_packages(tl.__path__, "theorylab."):
        for item in vars(importlib.import_module(info.name)).values():
            if inspect.isclass(item) and issubclass(item, tl.Method) and not inspect.isabstract(item):
                yield item


def test_every_method_has_an_example():
    methods = set(concrete_methods())
    missing = sorted(f"{one.__module__}.{one.__qualname__}" for one in methods - set(EXAMPLES))
    assert not missing, f"{missing} run in no contract test: give each an Example in tests/<room>/examples.py"
    gone = sorted(one.__qualname__ for one in set(EXAMPLES) - methods)
    assert not gone, f"there are examples of {gone}, which are no concrete methods of the library"


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda method: method.__name__)
def make(request):
    """The example of one method, by precision."""
    example = EXAMPLES[request.param]
    with jax.numpy_dtype_promotion(example("float64").promotion):
        yield example


@pytest.fixture(scope="module")
def example(make):
    return make("float64")


def record(at):
    return tl.Record(tl.at(at), state=lambda problem, state: eqx.filter(state, eqx.is_inexact_array))


def solve(example, value=None, *, scale=1.0, key=KEY, steps=STEPS, at=WHOLE, state=None, **keywords):
    method = example.method(**{example.axis: example.values[1] if value is None else value})
    x0 = example.x0 if state is None else None
    rows = record(at)
    return tl.solve(method, example.problem(scale), x0, key=key, steps=steps, record=rows, state=state, **keywords)


def sweep(example, values=None, *, seeds=2, key=KEY, **keywords):
    over = {example.axis: example.values if values is None else values}
    return tl.sweep(example.build, over=over, seeds=seeds, key=key, steps=STEPS, record=record(WHOLE), **keywords)


def flat(solution):
    """All that a run says, as one vector."""
    return ravel_pytree((solution.value, solution.trace["state"]))[0]


def lane(dataset, **place):
    """`flat` of one lane of a sweep."""
    one = dataset.isel(place)
    names = [name for head in ("value", "state") for name in one if name == head or name.startswith(f"{head}.")]
    return np.concatenate([np.ravel(one[name].values) for name in names])


def assert_rounding(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDINGS * np.finfo(b.dtype).eps * np.abs(b).max(), strict=True)


@pytest.fixture(scope="module")
def whole(example):
    """The undisturbed run."""
    return solve(example)


@pytest.fixture(scope="module")
def swept(example):
    """The undisturbed sweep."""
    return sweep(example)


@pytest.fixture(scope="module")
def fused(example):
    """A whole run as one function of the hyper-parameter."""
    return jax.jit(lambda value: flat(solve(example, value)))


@pytest.mark.parametrize("number", [lambda value: value, float], ids=["array", "python"])
def test_the_state_is_a_fixed_point_of_step(make, dtype, number):
    """Shapes alone: `init` and `step` run under `eval_shape`, and nothing is promoted, by a Python number either."""
    example = make(dtype)
    method, problem = example.method(**{example.axis: number(example.values[0])}), example.problem(1.0)
    before = jax.eval_shape(lambda x0: method.init(problem, KEY, x0), example.x0)
    after = jax.eval_shape(lambda state: method.step(problem, state, KEY), before)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)
    values = jax.eval_shape(lambda state: method.readout(problem, state), after)
    for leaf in jax.tree.leaves((after, values)):
        assert not jnp.issubdtype(leaf.dtype, jnp.inexact) or leaf.dtype == dtype


def test_it_passes_what_users_check_theirs_with(make):
    """In single precision; the tests below are in double."""
    example = make("float32")
    tl.engine.check_method(example.method(**{example.axis: example.values[1]}), example.problem(1.0), example.x0)


def test_a_sweep_is_a_python_loop_of_solves(example, swept):
    dataset = swept
    assert (dataset.status == MAX_STEPS).all()
    for seed, i in ((0, 0), (0, 1), (0, 2), (1, 1)):  # each solve is traced anew
        value = example.values[i]
        alone = solve(example, value, key=tl.keys.seed_key(KEY, seed))
        assert_rounding(lane(dataset, seed=seed, **{example.axis: i}), np.asarray(flat(alone)))


def test_lanes_do_not_depend_on_their_order(example, swept):
    turned = sweep(example, example.values[::-1], seeds=[1, 0])
    for seed in (0, 1):
        for i in range(3):
            expected = lane(swept, seed=seed, **{example.axis: i})
            assert_rounding(lane(turned, seed=1 - seed, **{example.axis: 2 - i}), expected)


def test_chunks_change_no_bit(example, whole, swept):
    assert np.array_equal(flat(solve(example, chunk=7)), flat(whole))
    assert sweep(example, chunk=7).equals(swept)


def test_an_invalid_lane_sinks_nobody(example, swept):
    values = np.where([False, True, False], example.values.dtype.type(example.bad[example.axis]), example.values)
    dataset = sweep(example, values)
    assert dataset.status[:, 0].values.tolist() == [MAX_STEPS, INVALID, MAX_STEPS]
    for i in (0, 2):
        place = {"seed": 1, example.axis: i}
        assert_rounding(lane(dataset, **place), lane(swept, **place))


def test_other_values_of_the_same_shapes_compile_nothing(example, whole, swept, compilations):
    with compilations() as count:
        alone = solve(example, example.values[2], scale=1.25, key=OTHER_KEY)
        many = sweep(example, example.values * 0.5, key=OTHER_KEY)
        assert count() == 0
    assert not np.array_equal(flat(alone), flat(whole)) and not many.equals(swept)


def test_going_on_at_a_chunk_border_is_the_undisturbed_run(example, whole):
    first = solve(example, steps=BORDER, at=FIRST)
    rest = solve(example, steps=STEPS - BORDER, at=REST, state=first)
    assert int(rest.steps) == STEPS
    assert eqx.tree_equal((rest.value, rest.state), (whole.value, whole.state))
    before = jax.tree.map(lambda rows: rows[WHOLE.index(BORDER)], whole.trace["state"])
    assert eqx.tree_equal(jax.tree.map(lambda rows: rows[-1], first.trace["state"]), before)


def test_an_interrupted_store_goes_on_to_the_undisturbed_run(example, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("theorylab.engine._disk.store.Store.seconds", 0.0)  # a checkpoint at every border

    def stop(step, row):
        if step == BORDER:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(example, store=tmp_path, chunk=4, log=stop)
    assert list((tmp_path / "state").iterdir())  # it does go on, and not begin anew
    seen = []
    resumed = solve(example, store=tmp_path, log=lambda step, row: seen.append(step))
    assert seen == [8, 20]  # from the row on that was not taken in
    assert np.array_equal(flat(resumed), flat(whole))
    assert np.array_equal(lane(tl.load(tmp_path)), flat(whole))


def test_the_fused_run_is_the_chunked_one(example, fused, whole):
    assert_rounding(fused(example.values[1]), np.asarray(flat(whole)))


def test_both_derivatives_are_the_difference_quotient(example, fused):
    value = jnp.asarray(example.values[1])
    shape = jax.eval_shape(fused, value)
    weights = np.cos(np.arange(shape.size, dtype=shape.dtype))

    @jax.jit
    def derivatives(value):
        run, forward = jax.jvp(fused, (value,), (jnp.ones_like(value),))
        return run, forward, jax.vjp(fused, value)[1](weights)[0]

    run, forward, reverse = map(np.asarray, derivatives(value))
    assert_rounding(reverse, weights @ forward)
    relative = np.cbrt(np.finfo(run.dtype).eps)
    value = np.asarray(value)
    step = relative.astype(value.dtype) * value
    quotient = (np.asarray(fused(value + step)) - np.asarray(fused(value - step))) / (2 * step)
    # truncation and rounding are both about eps^(2/3), of the third derivative and of the run itself
    tolerance = 100 * relative**2 * np.abs(run).max() / value
    np.testing.assert_allclose(forward, quotient, rtol=0, atol=tolerance)
    assert np.abs(forward).max() > 1e4 * tolerance  # or the comparison would say nothing


def test_bad_arguments_are_refused_by_name(example):
    assert example.axis in example.bad
    good = {example.axis: example.values[0]}
    for name, value in example.bad.items():
        with pytest.raises((TypeError, ValueError), match=name) as refused:
            if name == "x0":
                example.method(**good).init(example.problem(1.0), KEY, value)
            else:
                example.method(**good | {name: value})
        # the tests' own type checker, which users do not have, must not be what spoke
        assert not isinstance(refused.value, jaxtyping.TypeCheckError)


def test_no_start_is_named(example):
    with pytest.raises(ValueError, match="x0 is None"):
        example.method(**{example.axis: example.values[0]}).init(object(), KEY)


@pytest.mark.parametrize("lanes", ["one", "many"])
def test_it_lowers_for_accelerators_without_the_host(example, fused, lanes):
    run, values = (jax.jit(jax.vmap(fused)), example.values) if lanes == "many" else (fused, example.values[0])
    exported = jax.export.export(run, platforms=("cuda", "tpu"))(values)
    assert "callback" not in exported.mlir_module()
