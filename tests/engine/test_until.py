"""When a run stops: rules and failures at the step where they happen."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm

KEY = jax.random.key(0)


class TestStops:
    def test_below_stops_at_the_first_multiple_of_its_stride(self, linear):
        a, c = np.asarray(linear.x), np.asarray(linear.b / linear.x)
        gaps = [np.linalg.norm(a * (1 - 0.1 * a) ** t * (1 - c)) for t in range(200)]
        exact = next(t for t in range(200) if gaps[t] <= 1e-3)
        for every in (1, 7):
            solution = tl.solve(Relax(0.1), linear, key=KEY, steps=200, until=tl.below(norm, 1e-3, every=every))
            assert solution.status == tl.Status.converged
            assert int(solution.steps) == math.ceil(exact / every) * every

    def test_x0_is_tested_too(self, linear):
        solution = tl.solve(Relax(0.1), linear, linear.b / linear.x, key=KEY, steps=50, until=tl.below(norm, 1e-12))
        assert int(solution.steps) == 0 and solution.status == tl.Status.converged

    def test_stalled(self, linear):
        solution = tl.solve(Relax(0.2), linear, key=KEY, steps=5000, until=tl.stalled(norm, rtol=1e-3, patience=50))
        assert solution.status == tl.Status.stalled and int(solution.steps) < 500

    def test_the_first_rule_that_speaks_gives_the_status(self, linear):
        rule = tl.stalled(norm) | tl.below(norm, 1e-6) | (lambda problem, state: state.x[0] < 0.5)
        solution = tl.solve(Relax(0.1), linear, key=KEY, steps=500, until=rule)
        assert solution.status == tl.Status.converged
        assert int(solution.steps) == next(t for t in range(99) if 0.9**t < 0.5)

    def test_divergence_is_a_status_with_its_step(self, linear):
        solution = tl.solve(Relax(1.5), linear, key=KEY, steps=10_000)  # factor |1 - 1.5 * 4| = 5 a step
        first = next(t for t in range(99) if 1.5 * 5.0**t > 1e12)
        assert solution.status == tl.Status.diverged
        assert first <= int(solution.steps) <= first + 16
        assert "smaller step size" in tl.Status[solution.status]
        with pytest.raises(RuntimeError, match="step 32: diverged"):
            tl.solve(Relax(1.5), linear, key=KEY, steps=10_000, throw=True)

    def test_a_nan_is_nonfinite(self, linear):
        bad = Linear(linear.x, linear.b.at[0].set(jnp.nan))
        assert tl.solve(Relax(0.1), bad, key=KEY, steps=3).status == tl.Status.nonfinite

    def test_the_last_step_is_tested_whatever_the_stride(self, linear):
        assert (
            tl.solve(Relax(0.1), linear, key=KEY, steps=99, until=tl.below(norm, 1e-3, every=1000)).status
            == tl.Status.converged
        )

    @pytest.mark.parametrize("lowest", [-1.0, 2.0])
    def test_what_falls_to_any_value_stalls_there(self, linear, lowest):
        """A quantity that halves its distance to `lowest`, which may be negative, at each step."""

        def watched(problem, state):
            return lowest + state.x[0]

        halving = Linear(jnp.ones(3), jnp.zeros(3))
        rule = tl.stalled(watched, rtol=1e-3, patience=20, every=1)
        solution = tl.solve(Relax(0.5), halving, key=KEY, steps=500, until=rule)
        assert solution.status == tl.Status.stalled
        # the last fall by a thousandth of its size is the tenth or eleventh
        assert 20 < int(solution.steps) <= 32

    def test_a_tolerance_is_not_rounded(self):
        """1.0039 is 1 in bfloat16, and 1.0 is not below 0.999."""
        held = Linear(jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16))

        def watched(problem, state):
            return state.x[0]

        run = {"key": KEY, "steps": 2, "until": tl.below(watched, 0.999)}
        assert tl.solve(Relax(jnp.bfloat16(0.1), jnp.bfloat16(0)), held, **run).status == tl.Status.max_steps

    def test_what_a_rule_watches_is_checked(self, linear):
        def run(rule):
            tl.solve(Relax(0.1), linear, key=KEY, steps=2, until=rule)

        with pytest.raises(TypeError, match=r"satisfied gives float64\[\]: return a truth, such as value < tol"):
            run(norm)  # where below(norm, tol) was meant
        with pytest.raises(TypeError, match=r"below gives float64\[3\]: return one number"):
            run(tl.below(lambda problem, state: state.x, 1e-3))
        with pytest.raises(TypeError, match=r"stalled gives int32\[\]: return one floating number"):
            run(tl.stalled(lambda problem, state: jnp.int32(1)))

    def test_bad_rules(self, linear):
        with pytest.raises(ValueError, match="every"):
            tl.below(norm, 1e-3, every=0)
        with pytest.raises(TypeError, match="until"):
            tl.solve(Relax(0.1), linear, key=KEY, steps=3, until=1e-3)
