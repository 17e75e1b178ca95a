"""Disks and folders that go wrong: what was written stands, damage is named with its cure, and nothing leaves the
store or runs code."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from tests.engine.stored import KEY, PROBLEM, sweep
from theorylab.engine._disk.files import read_arrays, write_arrays
from theorylab.engine._disk.store import Store


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
            "from theorylab.engine._disk.files import write_arrays\n"
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

    def test_a_store_of_another_layout(self, tmp_path):
        sweep(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"schema": 99}))
        with pytest.raises(tl.StoreError, match=r"has the layout 99, and this theorylab reads 1; use the version that"):
            tl.load(tmp_path)
        with pytest.raises(tl.StoreError, match='"schema"'):
            sweep(tmp_path)

    @pytest.mark.parametrize(
        "strange",
        [
            "[]",
            "{}",
            '{"schema": 1}',
            '{"schema": 1, "grid": 3}',
            '{"schema": 1, "grid": {"axes": {"a": [1]}, "parts": [{"x": 1}]}}',
            '{"schema": 1, "grid": {"axes": {}, "parts": [{"static": {}, "outer": [], "inner": [],'
            ' "blocks": [["../../x", 1, 0, 1]]}]}, "layout": {"dims": {}, "variables": {}}}',
            "not JSON",
        ],
    )
    def test_a_strangers_configuration(self, tmp_path, strange):
        (tmp_path / "config.json").write_text(strange)
        with pytest.raises(tl.StoreError, match=r"config\.json|has the layout"):
            tl.load(tmp_path)

    @pytest.mark.parametrize("folder", ["shards", "state"])
    def test_a_store_cannot_lead_out_of_its_folder(self, tmp_path, folder):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / folder).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(tl.StoreError, match=f"{folder} is a link out of the store"):
            sweep(tmp_path / "run")
        assert not list((tmp_path / "elsewhere").iterdir())


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
    states = sorted((tmp_path / "state").iterdir(), key=lambda f: int(f.stem.split("-")[1]))
    assert [f.stem for f in states] == ["000000000-20", "000000000-30"]
    states[-1].write_bytes(states[-1].read_bytes()[:100])
    with pytest.warns(UserWarning, match="going on from an earlier state"):
        resumed = tl.solve(Relax(0.1, 0.1), PROBLEM, key=KEY, steps=40, record=record, chunk=10, store=tmp_path)
    assert np.array_equal(resumed.value, whole.value) and resumed.stats["chunks"] == 2
