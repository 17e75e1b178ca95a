"""What is on disk: a store gives back what the run gave, and a call that asks for it again reloads it."""

import json

import jax
import jax.numpy as jnp
import numpy as np

import theorylab as tl
from tests.engine.problems import Relax
from tests.engine.stored import KEY, PROBLEM, RECORD, sweep


def test_a_store_gives_back_what_the_sweep_gave(tmp_path):
    over = {"rate": jnp.asarray([0.1, 0.2], jnp.float32)}
    ds = sweep(tmp_path, over=over)
    assert ds.equals(sweep(None, over=over))
    for again in (tl.load(tmp_path), sweep(tmp_path, over=over)):
        assert again.equals(ds) and {n: again[n].dtype for n in ds.variables} == {n: ds[n].dtype for n in ds.variables}
    shards = list((tmp_path / "shards").iterdir())
    assert len(shards) == json.loads(ds.attrs["stats"])["blocks"] > 1 and not list((tmp_path / "state").iterdir())
    attrs = tl.load(tmp_path).attrs
    assert (
        attrs["finished"] == 1 and json.loads(attrs["config"])["steps"] == 50 and "jax" in json.loads(attrs["versions"])
    )


def test_what_has_not_run_is_nan_and_not_completed(tmp_path):
    whole = sweep(tmp_path)
    (tmp_path / "done.json").unlink()
    gone = min((tmp_path / "shards").iterdir())
    gone.unlink()
    start, stop = map(int, gone.stem.split("-"))
    part = tl.load(tmp_path)
    assert part.attrs["finished"] == 0 and part.completed.size - part.completed.sum() == stop - start > 0
    assert (
        np.isnan(part.value.values[~part.completed.values]).all()
        and np.isnan(part.e.values[~part.completed.values]).all()
    )
    assert (part.value.values[part.completed.values] == whole.value.values[part.completed.values]).all()
    assert sweep(tmp_path).equals(whole)  # only the missing block runs again


def test_a_stored_solve_reloads_with_its_state(tmp_path):
    first = tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40, record=RECORD, store=tmp_path)
    again = tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40, record=RECORD, store=tmp_path)
    assert again.stats["chunks"] == 0 and np.array_equal(again.state.x, first.state.x)
    assert np.array_equal(again.trace.e, first.trace.e) and int(again.steps) == 40
    ds = tl.load(tmp_path)
    np.testing.assert_array_equal(ds.e, first.trace.e)
    np.testing.assert_array_equal(ds["mean"], first.trace.mean)
    assert ds.step.values.tolist() == [0, 10, 20, 30, 40]


def test_keys_and_small_floats_survive(tmp_path):
    class Drawing(tl.Method):
        def init(self, problem, key, x0=None):
            return {"x": jnp.zeros((), jnp.bfloat16), "key": key}

        def step(self, problem, state, key):
            own, key = jax.random.split(state["key"])
            return {"x": state["x"] + jax.random.normal(own, (), jnp.bfloat16), "key": key}

        def readout(self, problem, state):
            return state["x"]

    first = tl.solve(Drawing(), None, key=KEY, steps=9, store=tmp_path)
    again = tl.solve(Drawing(), None, key=KEY, steps=9, store=tmp_path)
    assert again.state["key"] == first.state["key"] and again.value == first.value and again.value.dtype == jnp.bfloat16
