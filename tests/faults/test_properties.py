"""What the engine promises, for any chunking, any record, any lanes and any interruption. Shapes never vary, so that a
few programs serve all examples."""

import contextlib
import functools
import json
import tempfile
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine._disk import store as stored

KEY = jax.random.key(11)
STEPS = 24
PROBLEM = Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.ones(3))
NOISY = Relax(0.1, 0.3)
RATES, SCALES, SEEDS = (0.02, 0.05, 0.1, 0.15, 0.2), (1.0, 2.0), (0, 1, 2, 5)
CHUNKS = st.integers(1, STEPS + 5)

FEW = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FEW, max_examples=200, phases=(Phase.generate, Phase.shrink))


def iterate(problem, state):
    return state.x


def few_or_many(test):
    """A property as two tests: a few examples by default, many among the slow ones."""

    @functools.wraps(test)
    @pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
    def run(examples):
        examples(test)()

    del run.__wrapped__  # pytest would ask for the drawn arguments as fixtures
    return run


@functools.cache
def plain_loop():
    """The iterates of `NOISY`, by NumPy."""
    a, b, x = np.asarray(PROBLEM.x), np.asarray(PROBLEM.b), np.ones(3)
    rows = [x]
    for t in range(STEPS):
        draw = np.asarray(jax.random.normal(tl.keys.step_key(KEY, t), (3,)))
        rows.append(rows[-1] - 0.1 * (a * rows[-1] - b) + 0.3 * draw)
    return np.stack(rows)


def rounding(a, b):
    """Some roundings of each of 24 steps, of numbers about one."""
    np.testing.assert_allclose(a, b, rtol=0, atol=100 * STEPS * np.finfo(float).eps)


def rows_of(count, last):
    """Schedules of `count` rows within `last` steps."""
    times = st.lists(st.integers(0, last), min_size=count, max_size=count, unique=True)
    strides = [k for k in range(1, last + 1) if last // k + 1 == count]
    regular = [tl.every(k) for k in strides] + [
        schedule for schedule in map(tl.geometric, range(2, count + 2)) if len(schedule.times(last)) == count
    ]
    return times.map(lambda ts: tl.at(sorted(ts))) | st.sampled_from(regular)


@st.composite
def runs(draw):
    """A number of steps and two records of four and of three rows within them."""
    steps = draw(st.integers(8, STEPS))
    return steps, draw(rows_of(4, steps)), draw(rows_of(3, steps))


@few_or_many
@given(runs(), CHUNKS, st.integers(0, STEPS))
def test_any_records_in_any_chunks_are_rows_of_a_plain_loop(asked, chunk, after):
    steps, first, second = asked
    record = [tl.Record(first, x=iterate, top=tl.Max(iterate)), tl.Record(second, e=norm, mean=tl.Mean(iterate, after))]
    run = functools.partial(tl.solve, NOISY, PROBLEM, key=KEY, steps=steps, record=record)
    whole, chunked = run(), run(chunk=chunk)
    assert eqx.tree_equal((chunked.value, chunked.trace.steps), (whole.value, whole.trace.steps))
    for name in whole.trace:  # bytes, since a mean of nothing is NaN
        assert np.asarray(chunked.trace[name]).tobytes() == np.asarray(whole.trace[name]).tobytes(), name
    loop, trace = plain_loop(), whole.trace
    assert trace.steps["x"].tolist() == first.times(steps).tolist()
    rounding(trace.x, loop[first.times(steps)])
    rounding(trace.top, loop[first.times(steps)].max(0))
    a, b = np.asarray(PROBLEM.x), np.asarray(PROBLEM.b)
    rounding(trace.e, np.linalg.norm(loop[second.times(steps)] * a - b, axis=1))
    late = [t for t in second.times(steps) if t >= after]
    rounding(trace.mean, loop[late].mean(0) if late else np.full(3, np.nan))
    rounding(whole.value, loop[steps])


@few_or_many
@given(st.integers(1, STEPS - 1), CHUNKS, CHUNKS)
def test_a_run_goes_on_from_any_step(border, before, after):
    first = tl.solve(NOISY, PROBLEM, key=KEY, steps=border, chunk=before)
    rest = tl.solve(NOISY, PROBLEM, key=KEY, steps=STEPS - border, state=first, chunk=after)
    whole = tl.solve(NOISY, PROBLEM, key=KEY, steps=STEPS)
    assert int(rest.steps) == STEPS and np.array_equal(rest.value, whole.value)


@few_or_many
@given(st.integers(1, STEPS), st.sampled_from([0.1, 0.3, 1.0, 1e-9]), CHUNKS)
def test_a_rule_stops_at_its_own_stride_whatever_the_chunk(every, tol, chunk):
    rule = tl.below(norm, tol, every=every)
    solution = tl.solve(Relax(0.1, 0.0), PROBLEM, key=KEY, steps=STEPS, until=rule, chunk=chunk)
    a = np.asarray(PROBLEM.x)
    gaps = [np.linalg.norm((1 - 0.1 * a) ** t * (a - 1)) for t in range(STEPS + 1)]
    tested = [*range(0, STEPS + 1, every), STEPS]
    assert int(solution.steps) == next((t for t in tested if gaps[t] <= tol), STEPS)
    assert (tl.Status[solution.status] == tl.Status[tl.Status.converged]) == any(gaps[t] <= tol for t in tested)


@contextlib.contextmanager
def interrupted(writes, *, before):
    """Ctrl-C at one of the writes to a store, before it or after; a state at every chunk's border."""
    left = [writes]
    write = stored.write_arrays

    def watched(*args, **keywords):
        left[0] -= 1
        if left[0] < 0 and before:
            raise KeyboardInterrupt
        write(*args, **keywords)
        if left[0] < 0:
            raise KeyboardInterrupt

    patches = mock.patch.object(stored, "write_arrays", watched), mock.patch.object(stored.Store, "seconds", 0.0)
    with patches[0], patches[1], contextlib.suppress(KeyboardInterrupt):
        yield


def assert_nothing_is_lost(run, interruptions, whole):
    """However often it is interrupted, a stored run ends with the bytes of one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        for writes, before, chunk in interruptions:
            with interrupted(writes, before=before):
                run(folder, chunk=chunk)
        run(folder)
        found = tl.load(folder)
    assert set(found.variables) == set(whole.variables)
    for name in whole.variables:
        assert found[name].values.tobytes() == whole[name].values.tobytes(), name


INTERRUPTIONS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(3, 12)), min_size=1, max_size=2)


@functools.cache
def solved():
    with tempfile.TemporaryDirectory() as folder:
        stored_solve(folder)
        return tl.load(folder)


def stored_solve(folder, **keywords):
    record = tl.Record(tl.at([0, 5, 11, STEPS]), e=norm, mean=tl.Mean(iterate))
    return tl.solve(NOISY, PROBLEM, key=KEY, steps=STEPS, record=record, store=folder, **keywords)


@few_or_many
@given(INTERRUPTIONS)
def test_a_stored_solve_may_be_interrupted_anywhere(interruptions):
    assert_nothing_is_lost(stored_solve, interruptions, solved())


def build(key, *, rate, scale):
    """`rate` touches the method alone, `scale` the problem, the seed the start."""
    return Relax(rate, 0.1), Linear(scale * PROBLEM.x, PROBLEM.b), jax.random.normal(key, (3,))


def sweep(rates=RATES[:3], scales=SCALES, seeds=SEEDS[:2], order=("rate", "scale"), **keywords):
    over = {"rate": rates, "scale": scales}
    asked = {"steps": STEPS, "record": tl.Record(tl.every(8), e=norm), "mesh": jax.local_devices()[:1]}
    return tl.sweep(build, over={name: over[name] for name in order}, seeds=list(seeds), key=KEY, **asked | keywords)


@functools.cache
def swept(**keywords):
    return sweep(**keywords)


@few_or_many
@given(
    st.permutations(RATES).map(lambda rates: rates[:3]),
    st.permutations(SCALES),
    st.permutations(SEEDS).map(lambda seeds: seeds[:2]),
    st.permutations(["rate", "scale"]),
    CHUNKS,
)
def test_lanes_are_the_same_in_any_order_and_company(rates, scales, seeds, order, chunk):
    whole = swept(rates=RATES, seeds=SEEDS)
    part = sweep(rates, scales, seeds, order, chunk=chunk)
    assert part.e.dims == (*order, "seed", "step")
    same = whole.sel(rate=rates, scale=scales, seed=seeds)
    for name in ("value", "e"):
        rounding(part[name], same[name].transpose(*part[name].dims))
    assert (part.steps == same.steps).all() and (part.status == same.status).all()


@functools.cache
def swept_to_disk():
    with tempfile.TemporaryDirectory() as folder:
        ds = stored_sweep(folder)
        assert json.loads(ds.attrs["stats"])["blocks"] > 1
        return tl.load(folder)


def stored_sweep(folder, **keywords):
    return sweep(store=folder, memory_limit=4000, **keywords)


@few_or_many
@given(INTERRUPTIONS)
def test_a_stored_sweep_may_be_interrupted_anywhere(interruptions):
    assert_nothing_is_lost(stored_sweep, interruptions, swept_to_disk())


@few_or_many
@given(st.permutations(list(np.geomspace(2e-3, 0.2, 24))).map(lambda rates: rates[:16]), st.sampled_from([1e-2, 1e-4]))
def test_dropping_stopped_lanes_changes_rounding_alone(rates, tol):
    def quiet(key, *, rate):
        return Relax(rate), PROBLEM

    rule = tl.below(norm, tol, every=4)
    whole, fewer = (
        tl.sweep(
            quiet,
            over={"rate": rates},
            key=KEY,
            steps=600,
            chunk=20,
            until=rule,
            compact=compact,
            mesh=jax.local_devices()[:1],
        )
        for compact in ("never", "steps")
    )
    assert json.loads(fewer.attrs["stats"])["compactions"] >= 1
    assert (whole.steps == fewer.steps).all() and (whole.status == fewer.status).all()
    rounding(fewer.value, whole.value)
