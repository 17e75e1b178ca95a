"""Two processes of two devices each, over JAX's own runtime: one sweep, shared; and what is left when one is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import theorylab as tl
from tests.multiprocess.member import PROCESSES, asked

LIMIT = 300  # seconds: starting is slow on a busy machine


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def slurm(process: int, port: int) -> dict[str, str]:
    """What `srun` tells each of its processes, of which JAX makes its own port."""
    return {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(PROCESSES),
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
    }


def start(kind: str, folder: Path, by: str = "hand") -> list[subprocess.Popen]:
    script, port = Path(__file__).with_name("member.py"), free_port()
    env = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    return [
        subprocess.Popen(
            [sys.executable, str(script), kind, str(port) if by == "hand" else by, str(process), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env | (slurm(process, port) if by == "slurm" else {}),
        )
        for process in range(PROCESSES)
    ]


def finish(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        out, error = process.communicate(timeout=LIMIT)
        assert process.returncode == 0 and out.endswith("done\n"), error


@pytest.fixture(scope="module", params=["float64", "float32"])
def shared(request, tmp_path_factory):
    """A sweep by two processes that Slurm started, without a store and with one."""
    folder = tmp_path_factory.mktemp(request.param)
    finish(start(request.param, folder, by="slurm"))
    return request.param, folder


@pytest.mark.parametrize("shared", ["float64", pytest.param("float32", marks=pytest.mark.slow)], indirect=True)
class TestShared:
    def test_every_process_has_the_whole_result(self, shared):
        _, folder = shared
        first, *others = [np.load(folder / f"{name}-{p}.npz") for name in ("alone", "stored") for p in range(PROCESSES)]
        assert first["completed"].all()
        for other in others:
            for name in first.files:
                assert other[name].tobytes() == first[name].tobytes() and other[name].dtype == first[name].dtype, name

    def test_it_is_what_one_process_gives(self, shared):
        """The same draws, in blocks of the same width: equal to rounding, which four hundred steps do not enlarge."""
        precision, folder = shared
        with jax.enable_x64(precision == "float64"):
            alone = tl.sweep(**asked(400, precision == "float64"))
        found = np.load(folder / "alone-0.npz")
        assert set(found.files) == set(alone.variables)
        for name in ("status", "steps"):
            np.testing.assert_array_equal(found[name], alone[name].values)
        rounding = 100 * np.finfo(precision).eps
        for name in ("value", "e", "mean"):
            assert found[name].dtype == precision
            np.testing.assert_allclose(found[name], alone[name].values, rtol=rounding, atol=rounding)

    def test_the_store_is_one_whole(self, shared):
        _, folder = shared
        found, ds = np.load(folder / "stored-0.npz"), tl.load(folder / "store")
        assert ds.attrs["finished"] == 1 and len(list((folder / "store" / "shards").iterdir())) == 6
        for name in found.files:
            assert ds[name].values.tobytes() == found[name].tobytes(), name
        assert not list((folder / "store" / "state").iterdir())


def test_one_of_two_is_killed(tmp_path):
    """The other ends with an error that says so, within its time-out and its own work; the rerun finishes, and no
    shard that stood is written again."""
    processes = start("killed", tmp_path)
    shards = tmp_path / "store" / "shards"
    # the first block of process 1 is the second of all
    while not list(shards.glob("000000004-*.npz")):
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGKILL)
    processes[1].communicate()
    begin = time.monotonic()
    _, error = processes[0].communicate(timeout=LIMIT)
    assert processes[0].returncode not in (0, None) and time.monotonic() - begin < 120
    assert "process 1 ended with" in error and "start the same run again to go on" in error
    kept = {file: file.read_bytes() for file in shards.glob("*.npz")}
    assert not tl.load(tmp_path / "store").attrs["finished"] and 0 < len(kept) < 6
    finish(start("killed", tmp_path))
    assert tl.load(tmp_path / "store").attrs["finished"]
    assert all(file.read_bytes() == content for file, content in kept.items())
    assert bool(tl.load(tmp_path / "store").completed.all())


def test_the_command_line_under_slurm(tmp_path):
    """Both processes run their share, of fresh draws too where a statistical claim misses; the first alone reports. A
    second time both know that it is finished."""
    for again in (False, True):
        port = free_port()
        running = [
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("command.py")), str(tmp_path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | slurm(process, port) | {"THEORYLAB_CACHE": str(tmp_path / "cache")},
            )
            for process in range(PROCESSES)
        ]
        said = [process.communicate(timeout=LIMIT) for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        rows = json.loads(said[0][0])
        assert [(row["verdict"], row["again"]) for row in rows] == [("holds", False), ("holds", True)]
        assert said[1][0] == ""
        assert ("finished before" in said[0][1]) == again
    files = {file.name for file in (tmp_path / "toy" / "small").iterdir()}
    assert files == {"rates.nc", "rates.again.nc", "rates.png", "rates.svg", "claims.json", "run.json"}


class TestArguments:
    def test_all_or_none(self):
        with pytest.raises(ValueError, match=r"process_id missing; give all of"):
            tl.launch("localhost:1234", 2)

    def test_timeout(self):
        with pytest.raises(ValueError, match="timeout must be a positive number of seconds, got 0"):
            tl.launch(timeout=0)
