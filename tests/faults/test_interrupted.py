"""Runs that are killed or interrupted at any moment: resumed, they equal undisturbed ones byte for byte."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import theorylab as tl


def _start(kind, folder):
    script = Path(__file__).with_name("stored_run.py")
    env = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    command = [sys.executable, str(script), kind, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


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
    _same(whole, folder)
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(20))
def test_kill_9_many_times(undisturbed, tmp_path, round_):
    _killed_and_resumed(undisturbed, tmp_path, random.Random(round_))


def test_kill_9_and_resume_is_byte_equal(undisturbed, tmp_path):
    """Two kills and three starts; the same for a solve and a sweep."""
    assert _killed_and_resumed(undisturbed, tmp_path, random.Random(0)) >= 1


def _same(whole, folder):
    found = tl.load(folder)
    assert found.attrs["finished"] == 1
    for name in whole.variables:
        assert whole[name].values.tobytes() == found[name].values.tobytes(), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(undisturbed, tmp_path, number):
    """The shell's exit statuses are 130 and 143; the state is of the very step that the message names."""
    kind, whole, _ = undisturbed
    process = _start(kind, tmp_path)
    while not list((tmp_path / "state").glob("*.npz")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    out, error = process.communicate(timeout=300)
    assert process.returncode == -number and "done" not in out
    step = int(error.split("stopped at step ")[1].split(",")[0])
    assert f"{number.name}: " in error and f"saved in {tmp_path}; the same call again goes on from there" in error
    assert list((tmp_path / "state").glob(f"*-{step}.npz"))
    assert _start(kind, tmp_path).wait(300) == 0
    _same(whole, tmp_path)
