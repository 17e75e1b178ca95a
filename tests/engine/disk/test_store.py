"""What is on disk: a store gives back what the run gave, and a call that asks for it again reloads it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Relax, norm
from tests.engine.stored import KEY, PROBLEM, RECORD, sweep
from theorylab.engine._disk.dataset import states
from theorylab.engine._disk.files import read_arrays, write_arrays
from theorylab.engine._disk.store import Store


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


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupted(monkeypatch):
    """`interrupted(run, count)`: a stored run that ends with its `count`-th saved state, in chunks of ten steps."""

    def go(run, count):
        seen = []

        def save(self, *args, **keywords):
            original(self, *args, **keywords)
            seen.append(1)
            if len(seen) == count:
                raise Interrupted

        original = Store.save
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(Store, "seconds", 0.0)
            patch.setattr(Store, "save", save)
            run(chunk=10)

    return go


def _solve(folder, **keywords):
    """Rows at a border of a chunk and between, of a run that stops at step 26."""
    record = [tl.Record(tl.every(4), e=norm, mean=tl.Mean(norm)), tl.Record(tl.at([5]), n=lambda p, s: jnp.int32(7))]
    asked = {"steps": 40, "key": KEY, "record": record}
    return tl.solve(Relax(0.1, 0.1), PROBLEM, store=folder, **asked | keywords)


def test_an_unfinished_solve_shows_what_there_is(tmp_path, interrupted):
    interrupted(lambda **chunk: _solve(tmp_path, **chunk), 2)
    found, whole = tl.load(tmp_path), _solve(None, steps=20, chunk=10)
    assert found.attrs["finished"] == 0 and not found.completed and found.status == 0
    assert found.steps == 20
    np.testing.assert_array_equal(found.value, whole.value)
    # the row of step 20 is written by the next chunk
    np.testing.assert_array_equal(found.e[:5], whole.trace.e[:5])
    assert np.isnan(found.e[5:]).all() and found.n.values.tolist() == [7.0]
    np.testing.assert_allclose(found["mean"], whole.trace.e[:5].mean(), rtol=1e-14)
    again = _solve(tmp_path)
    assert tl.load(tmp_path).completed and tl.load(tmp_path).value.values.tolist() == again.value.tolist()


@pytest.mark.parametrize(
    ("lanes", "devices", "compact"), [("auto", 1, "steps"), ("auto", 2, "never"), ("vmap", 2, "steps")]
)
def test_an_unfinished_sweep_shows_what_there_is(tmp_path, interrupted, lanes, devices, compact):
    """The first block is finished, the second has stopped half-way, with some of its lanes converged."""
    rule = tl.below(norm, 0.35, every=1)
    asked = {"until": rule, "lanes": lanes, "mesh": jax.local_devices()[:devices], "compact": compact, "seeds": 8}
    asked |= {"over": {"rate": np.linspace(0.01, 0.1, 12)}, "memory_limit": None, "blocks": 4}
    whole = sweep(None, **asked)
    interrupted(lambda **chunk: sweep(tmp_path, **asked, **chunk), {"steps": 20, "never": 8}[compact])
    found = tl.load(tmp_path)
    done, here = found.completed.values, found.steps.values > 0
    running = here & ~done & (found.status.values == 0)
    assert done.any() and not here.all() and running.any() and (here & ~done & ~running).any()
    (t,) = set(found.steps.values[running].tolist())
    assert 0 < t < 50 and (whole.steps.values[running] > t).all()
    for name in ("value", "e", "steps", "status"):
        np.testing.assert_array_equal(found[name].values[here & ~running], whole[name].values[here & ~running])
    past = whole.step.values < t
    np.testing.assert_array_equal(found.e.values[running][:, past], whole.e.values[running][:, past])
    assert np.isnan(found.e.values[running][:, ~past]).all() and np.isnan(found.value.values[~here]).all()
    short = sweep(None, **asked | {"steps": t})
    np.testing.assert_allclose(found.value.values[running], short.value.values[running], rtol=1e-12)


def test_a_state_that_cannot_be_shown_is_passed_over_with_a_word(tmp_path, interrupted):
    interrupted(lambda **chunk: _solve(tmp_path, **chunk), 2)
    first, last = states(tmp_path, 0)
    arrays = read_arrays(first)
    last.write_bytes(last.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"passed over {last.name}.*damaged"):
        assert tl.load(tmp_path).steps == 10
    last.unlink()
    write_arrays(first, {name: x for name, x in arrays.items() if not name.startswith("shown.")})
    with pytest.warns(UserWarning, match="another version of theorylab wrote it"):
        found = tl.load(tmp_path)
    assert found.steps == 0 and np.isnan(found.value).all() and not found.completed
    assert int(_solve(tmp_path).stats["chunks"]) >= 1  # a run still goes on from it


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
    assert tl.load(tmp_path).value == np.float32(first.value)
    assert again.state["key"] == first.state["key"] and again.value == first.value and again.value.dtype == jnp.bfloat16
