"""Schedules, and reductions against NumPy on the rows they streamed over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Relax, norm

KEY = jax.random.key(1)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (tl.every(3), [0, 3, 6, 9]),
        (tl.every(100), [0]),
        (tl.at([2, 5, 10]), [2, 5, 10]),
        (tl.geometric(2), [0, 1, 10]),
        (tl.geometric(100), list(range(11))),
    ],
)
def test_times(schedule, expected):
    assert schedule.times(10).tolist() == expected


@pytest.mark.parametrize(
    "bad", [lambda: tl.every(0), lambda: tl.at([]), lambda: tl.at([3, 2]), lambda: tl.geometric(1)]
)
def test_bad_schedules_are_refused(bad):
    with pytest.raises(ValueError):
        bad()


def test_a_time_beyond_the_run_is_named(linear):
    with pytest.raises(ValueError, match="step 11 lies beyond"):
        tl.solve(Relax(0.1), linear, key=KEY, steps=10, record=tl.Record(tl.at([11]), e=norm))


def test_rows_are_the_closed_form(linear):
    record = [tl.Record(tl.every(5), x=lambda problem, state: state.x), tl.Record(tl.at([1, 7]), e=norm)]
    trace = tl.solve(Relax(0.1), linear, key=KEY, steps=20, record=record).trace
    a, fixed = np.asarray(linear.x), np.asarray(linear.b / linear.x)
    for row, t in zip(trace.x, trace.step, strict=True):
        np.testing.assert_allclose(row, fixed + (1 - 0.1 * a) ** t * (1 - fixed), rtol=1e-13)
    assert trace.steps["e"].tolist() == [1, 7]
    np.testing.assert_allclose(
        trace.e, [np.linalg.norm(a * (1 - 0.1 * a) ** t * (1 - fixed)) for t in (1, 7)], rtol=1e-13
    )


def test_reductions_are_those_of_the_rows(linear):
    def x(problem, state):
        return state.x

    record = tl.Record(
        tl.every(3),
        x=x,
        mean=tl.Mean(x, after=10),
        last=tl.Last(x),
        top=tl.Max(x),
        both=tl.Welford(x),
        never=tl.Mean(x, after=99),
    )
    trace = tl.solve(Relax(0.1, 0.3), linear, key=KEY, steps=50, record=record, chunk=7).trace
    rows, late = np.asarray(trace.x), trace.step >= 10
    np.testing.assert_allclose(trace.mean, rows[late].mean(0), rtol=1e-13)
    np.testing.assert_allclose(trace.last, rows[-1], rtol=0)
    np.testing.assert_allclose(trace.top, rows.max(0), rtol=0)
    np.testing.assert_allclose(trace.both["mean"], rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(trace.both["variance"], rows.var(0, ddof=1), rtol=1e-12)
    assert int(trace.both["count"]) == len(rows)
    assert np.isnan(trace.never).all()


def test_reductions_end_with_their_lane(linear):
    """A lane that stopped runs on beside the others; its mean must not."""

    def build(key, *, rate):
        return Relax(rate), linear

    record = tl.Record(tl.every(1), x=lambda problem, state: state.x, mean=tl.Mean(lambda problem, state: state.x))
    ds = tl.sweep(
        build, over={"rate": [0.02, 0.4]}, key=KEY, steps=60, record=record, until=tl.below(norm, 1e-3, every=1)
    )
    assert ds.status.values[:, 0].tolist() == [2, 1]
    np.testing.assert_allclose(ds["mean"], ds.x.mean("step", skipna=True), rtol=1e-12)


def test_names_are_checked(linear):
    with pytest.raises(ValueError, match="value"):
        tl.Record(tl.every(1), value=norm)
    with pytest.raises(TypeError, match="every"):
        tl.Record(10, e=norm)
    with pytest.raises(ValueError, match="twice"):
        tl.solve(
            Relax(0.1),
            linear,
            key=KEY,
            steps=2,
            record=[tl.Record(tl.every(1), e=norm), tl.Record(tl.every(2), e=norm)],
        )


def test_memory_is_that_of_the_record_not_of_the_steps(linear):
    """The program of a run a million times as long holds as many bytes."""
    from theorylab.engine._run.block import Block
    from theorylab.engine._run.loop import Loop
    from theorylab.engine._run.mesh import Split
    from theorylab.engine._run.system import System, split, tables

    sizes = []
    for steps in (10**3, 10**9):
        arrays, rebuild = split(System(Relax(0.1), linear, records=(tl.Record(tl.geometric(5), e=norm),)))
        when = tables([tl.geometric(5).times(10**3)], steps)
        block = Block.begin(Loop(rebuild), arrays, KEY, KEY, when, Split(), 0)
        sizes.append(block.program()[1].bytes)
    assert sizes[0] == sizes[1] > 0


def test_integer_rows_keep_their_values():
    class Count(tl.Method):
        def init(self, problem, key, x0=None):
            return tl.engine.State(jnp.int32(0))

        def step(self, problem, state, key):
            return tl.engine.State(state.x + 1)

    trace = tl.solve(
        Count(), None, key=KEY, steps=4, record=tl.Record(tl.every(2), n=lambda problem, state: state.x)
    ).trace
    assert trace.n.tolist() == [0, 2, 4] and trace.n.dtype == jnp.int32
