"""One run: the same for any chunking, fused or not, continued or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine import keys

KEY = jax.random.key(0)
RECORD = tl.Record(tl.every(4), x=lambda problem, state: state.x, mean=tl.Mean(lambda problem, state: state.x))


def arrays(solution):
    return [
        np.asarray(x) for x in jax.tree.leaves((solution.value, solution.code, solution.steps, solution.trace.values))
    ]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


@pytest.mark.parametrize("chunk", [1, 3, 16, 100])
def test_any_chunk_length_gives_the_same_bits(linear, chunk):
    run = {"key": KEY, "steps": 45, "record": RECORD, "until": tl.below(norm, 1e-9, every=7)}
    assert same(tl.solve(Relax(0.1, 0.01), linear, **run), tl.solve(Relax(0.1, 0.01), linear, chunk=chunk, **run))


def test_step_t_draws_under_its_own_key(linear):
    state = tl.engine.State(jnp.ones(3))
    for t in range(5):
        state = Relax(0.1, 0.5).step(linear, state, keys.step_key(KEY, t))
    np.testing.assert_allclose(tl.solve(Relax(0.1, 0.5), linear, key=KEY, steps=5).value, state.x, rtol=1e-15)


def test_going_on_from_a_solution_is_one_long_run(linear):
    first = tl.solve(Relax(0.1, 0.5), linear, key=KEY, steps=13)
    assert np.array_equal(
        tl.solve(Relax(0.1, 0.5), linear, key=KEY, steps=7, state=first).value,
        tl.solve(Relax(0.1, 0.5), linear, key=KEY, steps=20).value,
    )
    more = tl.solve(Relax(0.1, 0.5), linear, key=KEY, steps=7, state=first, record=RECORD)
    assert int(more.steps) == 20 and more.trace.step.tolist() == [16, 20]


def test_a_warm_restart_counts_from_zero(linear):
    first = tl.solve(Relax(0.1), linear, key=KEY, steps=13)
    again = tl.solve(Relax(0.1), linear, key=KEY, steps=7, state=first.state)
    assert int(again.steps) == 7
    np.testing.assert_allclose(again.value, tl.solve(Relax(0.1), linear, key=KEY, steps=20).value, rtol=1e-14)


def test_the_caller_keeps_its_arrays(linear):
    x0 = jnp.asarray([3.0, 2.0, 1.0])
    tl.solve(Relax(0.1), linear, x0, key=KEY, steps=3)
    assert x0.tolist() == [3.0, 2.0, 1.0]


class TestFused:
    def test_under_jit_it_is_the_same_run(self, linear):
        fused = jax.jit(lambda rate: tl.solve(Relax(rate, 0.1), linear, key=KEY, steps=20, record=RECORD))(0.1)
        chunked = tl.solve(Relax(0.1, 0.1), linear, key=KEY, steps=20, record=RECORD)
        for a, b in zip(arrays(fused), arrays(chunked), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)

    def test_under_vmap_it_is_many(self, linear):
        rates = jnp.asarray([0.05, 0.1, 0.2])
        values = jax.vmap(lambda rate: tl.solve(Relax(rate), linear, key=KEY, steps=9).value)(rates)
        for value, rate in zip(values, rates, strict=True):
            np.testing.assert_allclose(value, tl.solve(Relax(rate), linear, key=KEY, steps=9).value, rtol=1e-13)

    def test_gradient_in_both_modes_is_the_closed_form(self, linear):
        """x_T = c + (1 - g a)^T (x_0 - c): d/dg = -T a (1 - g a)^(T-1) (x_0 - c)."""

        def last(rate):
            return tl.solve(Relax(rate), linear, key=KEY, steps=6).value

        a, c = linear.x, linear.b / linear.x
        exact = -6 * a * (1 - 0.1 * a) ** 5 * (1 - c)
        np.testing.assert_allclose(jax.jacrev(last)(0.1), exact, rtol=1e-12)
        np.testing.assert_allclose(jax.jacfwd(last)(0.1), exact, rtol=1e-12)

    def test_gradient_goes_through_the_trace(self, linear):
        def area(rate):
            return tl.solve(Relax(rate), linear, key=KEY, steps=6, record=tl.Record(tl.every(2), e=norm)).trace.e.sum()

        h = 1e-6
        finite = (area(jnp.asarray(0.1 + h)) - area(jnp.asarray(0.1 - h))) / (2 * h)
        np.testing.assert_allclose(jax.grad(area)(0.1), finite, rtol=1e-7)

    def test_until_stops_at_the_same_step(self, linear):
        rule = tl.below(norm, 1e-3, every=5)
        fused = jax.jit(lambda rate: tl.solve(Relax(rate), linear, key=KEY, steps=500, until=rule))(0.1)
        chunked = tl.solve(Relax(0.1), linear, key=KEY, steps=500, until=rule)
        assert int(fused.steps) == int(chunked.steps) < 500 and int(fused.code) == int(chunked.code)

    def test_what_needs_a_host_is_refused(self, linear):
        with pytest.raises(ValueError, match="log needs the host"):
            jax.jit(lambda rate: tl.solve(Relax(rate), linear, key=KEY, steps=5, log=print).value)(0.1)


class TestPrograms:
    def test_other_values_of_the_same_shapes_compile_nothing(self, linear, compilations):
        def run(scale):
            data = jnp.asarray([1.0, 2.0, 3.0]) * scale
            captured = jax.jit(lambda x: jnp.sum(data * x))  # closes over an array inside a jit of its own
            record = tl.Record(tl.every(4), e=lambda problem, state: captured(state.x) + jnp.sum(data))
            problem = Linear(linear.x * scale, linear.b)
            rule = tl.below(norm, 1e-3 * scale, every=2)
            return float(tl.solve(Relax(0.1 * scale), problem, key=KEY, steps=30, record=record, until=rule).trace.e[0])

        run(1.0)
        with compilations() as count:
            assert run(0.5) == 6.0  # and the new values were used
            assert count() == 0

    def test_a_drifting_state_is_named_before_anything_compiles(self, linear, compilations):
        class Drift(Relax):
            def step(self, problem, state, key):
                return tl.engine.State(super().step(problem, state, key).x.astype("float32"))

        with compilations() as count:
            with pytest.raises(TypeError, match=r"leaf .*x.* from float64\[3\] to float32\[3\]"):
                tl.solve(Drift(0.1), linear, jnp.ones(3), key=KEY, steps=3)
            assert count() == 0

    @pytest.mark.parametrize("steps", [0, -1, True])
    def test_steps_must_be_a_count(self, linear, steps):
        with pytest.raises(ValueError, match="steps must be"):
            tl.solve(Relax(0.1), linear, key=KEY, steps=steps)

    def test_hyper_parameters_out_of_range_are_named(self):
        with pytest.raises(ValueError, match="rate must be positive, got -1"):
            Relax(-1.0)

    def test_no_start_is_named(self):
        class Bare:
            x, b = jnp.ones(3), jnp.ones(3)

        with pytest.raises(ValueError, match="x0 is None and Bare"):
            tl.solve(Relax(0.1), Bare(), key=KEY, steps=3)

    def test_keys(self, linear):
        assert np.array_equal(
            tl.solve(Relax(0.1, 1.0), linear, key=0, steps=3).value,
            tl.solve(Relax(0.1, 1.0), linear, key=KEY, steps=3).value,
        )
        with pytest.raises(TypeError, match="key must be one random key"):
            tl.solve(Relax(0.1), linear, key=jax.random.split(KEY), steps=3)


def test_log_sees_every_row_once_and_in_order(linear):
    seen = []
    record = [tl.Record(tl.every(4), e=norm), tl.Record(tl.at([6, 8]), x=lambda problem, state: state.x)]
    solution = tl.solve(
        Relax(0.1), linear, key=KEY, steps=20, record=record, chunk=5, log=lambda t, row: seen.append((t, row))
    )
    assert [t for t, _ in seen] == [0, 4, 6, 8, 12, 16, 20]
    assert sorted(seen[3][1]) == ["e", "x"]
    np.testing.assert_array_equal([row["e"] for _, row in seen if "e" in row], solution.trace.e)


def test_progress_goes_to_stderr_alone(linear, capsys):
    tl.solve(Relax(0.1), linear, key=KEY, steps=20, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "20/20" in err


def test_provenance_says_where_it_comes_from(linear):
    origin = tl.solve(Relax(0.1), linear, key=KEY, steps=2).provenance
    assert (
        origin["method"] == "Relax"
        and origin["x64"]
        and origin["key"]["data"] == [0, 0]
        and "jax" in origin["versions"]
    )
