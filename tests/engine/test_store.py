"""What is on disk: resumed runs equal undisturbed ones byte for byte, damage is named, nothing written is lost."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine.store import Store, read_arrays, write_arrays

KEY = jax.random.key(5)
RECORD = tl.Record(tl.every(10), e=norm, mean=tl.Mean(lambda problem, state: state.x))
PROBLEM = Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))


def build(key, *, rate):
    return Relax(rate, 0.1), PROBLEM, jax.random.normal(key, (2,))


def sweep(folder, **keywords):
    asked = {
        "over": {"rate": [0.1, 0.2]},
        "seeds": 3,
        "key": KEY,
        "steps": 50,
        "record": RECORD,
        "mesh": jax.local_devices()[:1],
    }
    return tl.sweep(build, store=folder, memory_limit=700, **asked | keywords)


def test_a_store_gives_back_what_the_sweep_gave(tmp_path):
    ds = sweep(tmp_path)
    assert ds.equals(sweep(None))
    assert tl.load(tmp_path).equals(ds) and sweep(tmp_path).equals(ds)
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


class TestRefusals:
    def test_another_configuration_shows_what_differs(self, tmp_path):
        sweep(tmp_path)
        for change in (
            {"steps": 60},
            {"key": 1},
            {"over": {"rate": [0.1, 0.3]}},
            {"record": tl.Record(tl.every(25), e=norm)},
        ):
            with pytest.raises(tl.StoreError, match=r"another configuration[\s\S]*stored[\s\S]*asked"):
                sweep(tmp_path, **change)

    def test_other_data_and_other_code_are_another_configuration(self, tmp_path):
        tl.solve(Relax(0.1), PROBLEM, key=KEY, steps=4, store=tmp_path)
        with pytest.raises(tl.StoreError, match='"data"'):
            tl.solve(Relax(0.1), Linear(PROBLEM.x, 2 * PROBLEM.b), key=KEY, steps=4, store=tmp_path)

        class Other(Relax):
            def step(self, problem, state, key):
                return tl.engine.State(super().step(problem, state, key).x * 1.5)

        with pytest.raises(tl.StoreError, match='"program"'):
            tl.solve(Other(0.1), PROBLEM, key=KEY, steps=4, store=tmp_path)

    def test_other_versions_warn(self, tmp_path):
        sweep(tmp_path)
        env = json.loads((tmp_path / "env.json").read_text())
        (tmp_path / "env.json").write_text(json.dumps(env | {"jax": "0.0.1"}))
        with pytest.warns(UserWarning, match=r"jax 0\.0\.1 ->"):
            sweep(tmp_path)

    @pytest.mark.parametrize("harm", ["truncate", "flip"])
    def test_a_damaged_shard_is_named_with_its_cure(self, tmp_path, harm):
        whole = sweep(tmp_path)
        shard = sorted((tmp_path / "shards").iterdir())[1]
        content = bytearray(shard.read_bytes())
        if harm == "truncate":
            content = content[: len(content) // 2]
        else:
            content[len(content) // 3] ^= 0xFF
        shard.write_bytes(content)
        with pytest.raises(tl.StoreError, match=f"{shard.name} is damaged.*Delete this file"):
            tl.load(tmp_path)
        with pytest.raises(tl.StoreError, match="damaged"):
            sweep(tmp_path)
        shard.unlink()
        assert sweep(tmp_path).equals(whole)

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(NotADirectoryError, match="taken is a file"):
            sweep(tmp_path / "taken")

    def test_no_store(self, tmp_path):
        with pytest.raises(tl.StoreError, match=r"holds no config\.json"):
            tl.load(tmp_path)

    def test_two_writers(self, tmp_path):
        first = Store(tmp_path, {"a": 1})
        with pytest.raises(tl.StoreError, match="in use by another process"):
            Store(tmp_path, {"a": 1})
        first.close()
        Store(tmp_path, {"a": 1}).close()

    def test_nothing_is_unpickled(self, tmp_path):
        np.savez(tmp_path / "x.npz", a=np.asarray([{"code": 1}], dtype=object))
        with pytest.raises(tl.StoreError, match="damaged"):
            read_arrays(tmp_path / "x.npz")

    def test_a_full_disk_loses_nothing(self, tmp_path):
        """A limit on file size stands for a full disk: the write fails half-way through."""
        write_arrays(tmp_path / "a.npz", {"x": np.arange(10)})
        code = (
            "import resource, signal, sys, numpy as np\n"
            "from pathlib import Path\n"
            "from theorylab.engine.store import write_arrays\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "write_arrays(Path(sys.argv[1]), {'x': np.zeros(10**6)})\n"
        )
        root = Path(__file__).parents[2]
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.npz")], capture_output=True, text=True, cwd=root, check=False
        )
        assert ran.returncode == 1 and "make room and run the same call again" in ran.stderr
        assert read_arrays(tmp_path / "a.npz")["x"].tolist() == list(range(10))
        assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_an_earlier_state_serves_when_the_last_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "seconds", 0.0)
    whole = tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40)

    class Stop(Exception):
        pass

    def stop(t, row):
        if t >= 30:
            raise Stop

    record = tl.Record(tl.every(10), e=norm)
    with pytest.raises(Stop):
        tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40, record=record, chunk=10, store=tmp_path, log=stop)
    states = sorted((tmp_path / "state").iterdir(), key=lambda f: int(f.stem))
    assert [f.stem for f in states] == ["20", "30"]
    states[-1].write_bytes(states[-1].read_bytes()[:100])
    with pytest.warns(UserWarning, match="going on from an earlier state"):
        resumed = tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40, record=record, chunk=10, store=tmp_path)
    assert np.array_equal(resumed.value, whole.value) and resumed.stats["chunks"] == 2


def _start(kind, folder):
    script = Path(__file__).with_name("stored_run.py")
    env = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    return subprocess.Popen([sys.executable, str(script), kind, str(folder)], stdout=subprocess.PIPE, env=env)


@pytest.fixture(scope="module", params=["solve", "sweep"])
def undisturbed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    start = time.monotonic()
    assert _start(request.param, folder).wait(300) == 0
    return request.param, tl.load(folder), time.monotonic() - start


def _killed_and_resumed(undisturbed, folder, rng):
    """Kill the run until it is done; each time after it has written something new."""
    kind, whole, _ = undisturbed
    kills = 0
    while True:
        process = _start(kind, folder)
        seen = set(folder.rglob("*.npz"))
        while process.poll() is None and not set(folder.rglob("*.npz")) - seen:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        if kills < 2 and process.poll() is None:
            shards = {f: f.read_bytes() for f in (folder / "shards").glob("*.npz")}
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            assert all(f.read_bytes() == content for f, content in shards.items())
            continue
        assert process.wait(300) == 0
        break
    found = tl.load(folder)
    assert found.attrs["finished"] == 1
    for name in whole.variables:
        assert whole[name].values.tobytes() == found[name].values.tobytes(), name
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(20))
def test_kill_9_many_times(undisturbed, tmp_path, round_):
    _killed_and_resumed(undisturbed, tmp_path, random.Random(round_))


def test_kill_9_and_resume_is_byte_equal(undisturbed, tmp_path):
    """Two kills and three starts; the same for a solve and a sweep."""
    assert _killed_and_resumed(undisturbed, tmp_path, random.Random(0)) >= 1
