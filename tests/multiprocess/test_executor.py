"""Blocks of a sweep in other processes: the same bytes as here, whoever runs them."""

import json
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import submitit

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm

PROBLEM = Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))
BLOCKS = 4


def sweep(executor=None, **keywords):
    # closed over, as users have it: it travels with the function
    scale = jnp.asarray(0.1)

    def build(key, *, rate, kind):
        return Relax(rate, scale if kind == "noisy" else 0 * scale), PROBLEM, jax.random.normal(key, (2,))

    asked = {
        "over": {"kind": ["noisy", "plain"], "rate": [0.1, 0.2, 0.3]},
        "seeds": 5,
        "key": 3,
        "steps": 40,
        "record": tl.Record(tl.every(10), e=norm),
        "until": tl.below(norm, 1e-3, every=5),
        "blocks": BLOCKS,
    }
    # the mesh of a worker: its one device
    where = {"mesh": jax.local_devices()[:1]} if executor is None else {"executor": executor}
    return tl.sweep(build, **asked | where | keywords)


@pytest.fixture(scope="module")
def here():
    return sweep()


def same(one, other):
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert one[name].values.tobytes() == other[name].values.tobytes(), name


def test_blocks_are_at_least_as_many_as_asked(here):
    assert json.loads(here.attrs["stats"])["blocks"] >= BLOCKS
    np.testing.assert_allclose(here.value, sweep(blocks=1).value, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def pool():
    """Two processes that have one device each, as a worker on a machine of its own would."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_a_process_pool_and_a_store(here, pool, tmp_path):
    found = sweep(pool, store=tmp_path)
    same(here, found)
    same(here, tl.load(tmp_path))
    same(here, sweep(pool, store=tmp_path))  # nothing is left to do
    assert tl.load(tmp_path).attrs["finished"] == 1


def test_submitit(here, tmp_path):
    """Its local mode, which is what it does on a cluster but for the queue: one array of jobs."""
    executor = submitit.AutoExecutor(tmp_path / "logs", cluster="local")
    executor.update_parameters(timeout_min=5)
    same(here.sel(kind=["plain"]), sweep(executor, over={"kind": ["plain"], "rate": [0.1, 0.2, 0.3]}, blocks=2))


class Refusing:
    """An executor whose third task fails, and which remembers what was cancelled."""

    def __init__(self):
        self.count, self.left = 0, []

    def submit(self, fn, *args):
        self.count += 1
        future = Future()
        if self.count <= 2:
            future.set_result(fn(*args))
        elif self.count == 3:
            future.set_exception(OSError("the node is gone"))
        else:
            self.left.append(future)
        return future


def test_a_worker_that_fails_keeps_what_is_finished(here, tmp_path):
    executor = Refusing()
    with pytest.raises(OSError, match="the node is gone"):
        sweep(executor, store=tmp_path)
    assert executor.left and all(future.cancelled() for future in executor.left)
    assert len(list((tmp_path / "shards").iterdir())) == 2
    with ThreadPoolExecutor(1) as threads:
        same(here, sweep(threads, store=tmp_path))


class TestRefusals:
    def test_no_executor(self):
        with pytest.raises(TypeError, match="executor must have a method submit"):
            sweep(3)

    def test_a_pool_that_forks(self):
        with (
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as forks,
            pytest.raises(ValueError, match=r"forks.*get_context\('spawn'\)"),
        ):
            sweep(forks)

    def test_a_mesh_too(self, pool):
        with pytest.raises(ValueError, match="workers use their own devices; drop mesh="):
            sweep(pool, mesh=jax.local_devices()[:1])

    def test_blocks(self):
        with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
            sweep(blocks=0)

    def test_what_cannot_travel(self, tmp_path):
        with open(tmp_path / "x", "w") as file, ThreadPoolExecutor(1) as threads:

            def log(problem, state):
                file.write("")
                return state.x[0]

            with pytest.raises(TypeError, match=r"cannot be sent to another process"):
                sweep(threads, record=tl.Record(tl.every(10), x=log))
