"""Cost as work grows: steps, lanes, devices; lanes that stop early; a store.

A case that grows names its greatest size first, so that a ratio of one says: a unit of work costs there what it costs
at the smaller size.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import theorylab as tl

from .engine import DIM, LANES, RATES, SEEDS, Descent, build, gradient_norm

TOLERANCE, MEBIBYTE = 1e-8, 2**20


# -- steps -------------------------------------------------------------------------------------------------------------


def longer(quick: bool) -> dict[str, Entry]:
    """A run of more and more steps, with a hundred rows recorded of each."""
    jax.config.update("jax_enable_x64", True)

    def run(steps: int):
        record = tl.Record(tl.every(steps // 100), norm=gradient_norm)
        return tl.sweep(build, over={"step_size": RATES}, seeds=SEEDS, key=0, steps=steps, record=record)

    return {
        f"{steps:,} steps": Entry(partial(run, steps), x=steps, work=float(steps * LANES * SEEDS))
        for steps in ((4000, 2000) if quick else (800_000, 400_000, 200_000, 100_000))
    }


# -- lanes -------------------------------------------------------------------------------------------------------------


class Dense(tl.engine.State):
    """Half of x' H x; the field `x` holds H."""

    def gradient(self, x):
        return tl.numerics.matvec(self.x, x)


class Frugal(Descent):
    """Gradient descent that hands back a number, so that its lanes leave nothing large behind."""

    def readout(self, problem, state):
        return jnp.sum(state.x**2)


def wider(limit: int | None, quick: bool) -> dict[str, Entry]:
    """More and more lanes that share a dense matrix, a few steps of each."""
    jax.config.update("jax_enable_x64", True)
    d, steps = (64, 16) if quick else (256, 16)
    matrix = np.diag(np.linspace(0.1, 1.0, d)) + 1e-3 * np.random.default_rng(0).normal(size=(d, d))
    problem, x0 = Dense(jnp.asarray(matrix)), jnp.ones(d)

    def dense(key, *, step_size):
        return Frugal(step_size), problem, x0

    def run(lanes: int):
        rates = np.linspace(0.1, 1.0, lanes)
        return tl.sweep(dense, over={"step_size": rates}, key=0, steps=steps, memory_limit=limit)

    return {
        f"{lanes:,} lanes": Entry(partial(run, lanes), x=lanes, work=float(lanes * steps))
        for lanes in ((256, 16) if quick else (2**16, 2**14, 2**12, 2**10, 2**8))
    }


# -- devices -----------------------------------------------------------------------------------------------------------


def sweep_on(count: int, quick: bool) -> Callable[[], object]:
    """A sweep whose lanes are dealt out to some devices."""
    jax.config.update("jax_enable_x64", True)
    devices, steps = jax.devices()[:count], 1000 if quick else 100_000
    return lambda: tl.sweep(build, over={"step_size": RATES}, seeds=8, key=0, steps=steps, mesh=devices)


def loss_on(count: int, quick: bool) -> Callable[[], object]:
    """Gradients of the denoising loss of one layer of attention, the batch over some devices."""
    tokens, d, batch, steps = (8, 8, 64, 2) if quick else (64, 64, 512, 8)
    mesh = Mesh(jax.devices()[:count], "data")
    points = jax.random.normal(jax.random.key(0), (batch, tokens, d))
    x0 = jax.device_put(points, NamedSharding(mesh, PartitionSpec("data")))
    schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 50)
    model = jax.device_put(
        tl.diffusion.SoftmaxAttention(0.3 * jnp.eye(d), -jnp.eye(d), jnp.eye(d)), NamedSharding(mesh, PartitionSpec())
    )

    @jax.jit
    def step(model, x0, key):
        draws = {"key": key, "noise": "counter", "levels": "stratified"}
        gradient = jax.grad(lambda model: tl.diffusion.denoising_loss(model, x0, schedule, block=None, **draws))(model)
        return jax.tree.map(lambda p, g: p - 0.1 * g, model, gradient)

    def run():
        now = model
        for i in range(steps):
            now = jax.block_until_ready(step(now, x0, jax.random.key(i)))
        return now

    return run


ON = {"sweep": sweep_on, "loss": loss_on}


def devices(what: str, quick: bool) -> dict[str, Entry]:
    """The same work on more and more devices: this process', or those of a child that is told how many it has."""
    if jax.default_backend() != "cpu":
        counts = [n for n in (8, 4, 2, 1) if n <= jax.device_count()]
        return {_devices(n): Entry(ON[what](n, quick), x=n) for n in counts}

    def child(count: int) -> Callable[[], float]:
        arguments = [sys.executable, "-m", "cases.scale", what, str(count), *(["--quick"] if quick else [])]
        here = Path(__file__).parents[1]
        paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(count), "PYTHONPATH": paths}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process: Any = subprocess.Popen(arguments, env=environment, text=True, **pipes)

        def once():
            print(file=process.stdin, flush=True)
            return float(process.stdout.readline())

        return once

    counts = (8, 1) if quick else (8, 4, 2, 1)
    return {_devices(n): Entry(child(n), cost=lambda seconds: seconds, x=n) for n in counts}


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def main(what: str, count: str, *quick: str) -> None:
    """A child process: a call, and its CPU seconds, for every line that it is sent."""
    run = ON[what](int(count), bool(quick))
    for _ in sys.stdin:
        start = time.process_time()
        run()
        print(time.process_time() - start, flush=True)


# -- early stopping ----------------------------------------------------------------------------------------------------


def stopping(rates: np.ndarray, quick: bool) -> dict[str, Entry]:
    jax.config.update("jax_enable_x64", True)
    steps = 20_000 if quick else 400_000

    def ours():
        rule = tl.below(gradient_norm, TOLERANCE, every=16)
        return tl.sweep(build, over={"step_size": rates}, seeds=SEEDS, key=0, steps=steps, until=rule)

    x0 = jax.random.normal(jax.random.key(0), (SEEDS, DIM))
    curvatures = build(jax.random.key(0), step_size=1.0)[1].x

    def lane(curvatures, rate, x):
        def going(c):
            return (c[0] < steps) & (jnp.linalg.norm(curvatures * c[1]) > TOLERANCE)

        return jax.lax.while_loop(going, lambda c: (c[0] + 1, c[1] - rate * curvatures * c[1]), (0, x))

    peer = jax.jit(jax.vmap(jax.vmap(lane, (None, 0, None)), (None, None, 0)))
    return {
        "theorylab sweep": Entry(ours),
        "vmap(while_loop)": Entry(lambda: jax.block_until_ready(peer(curvatures, jnp.asarray(rates), x0))),
    }


# -- a store -----------------------------------------------------------------------------------------------------------


def stored(quick: bool) -> dict[str, Entry]:
    """Eight blocks of about a second each, written or not."""
    jax.config.update("jax_enable_x64", True)
    folder = tempfile.TemporaryDirectory()
    numbers = itertools.count()
    steps = 2000 if quick else 500_000
    limit = 2 * LANES * DIM * 8 * 4  # one seed fits, two do not

    def run(store: Path | None = None):
        return tl.sweep(build, over={"step_size": RATES}, seeds=8, key=0, steps=steps, memory_limit=limit, store=store)

    return {
        "theorylab sweep, stored": Entry(lambda: run(Path(folder.name) / str(next(numbers)))),
        "theorylab sweep": Entry(run),
    }


QUADRATIC = f"gradient descent, d = {DIM}"
CASES = [
    Case(
        name="scale_steps",
        room="scale",
        make=longer,
        work=lambda quick: 1.0,
        unit="lane-steps",
        size=f"{QUADRATIC}, {LANES} step sizes x {SEEDS} seeds, 100 rows",
        dtype="float64",
        target={"200,000 steps": 0.9},
        axis="steps",
        rounds=3,
    ),
    *(
        Case(
            name=name,
            room="scale",
            make=partial(wider, limit),
            work=lambda quick: 1.0,
            unit="lane-steps",
            size="gradient descent, a dense matrix, d = 256, 16 steps" + text,
            dtype="float64",
            flops=2.0 * 256**2,
            target={"16,384 lanes": 0.9},
            axis="lanes",
            rounds=3,
        )
        for name, limit, text in (
            ("scale_lanes", None, ""),
            ("scale_lanes_in_blocks", 16 * MEBIBYTE, ", memory_limit of 16 MiB"),
        )
    ),
    *(
        Case(
            name=f"scale_devices_{what}",
            room="scale",
            make=partial(devices, what),
            work=lambda quick: 1.0,
            unit="calls",
            size=size,
            dtype=dtype,
            target={"1 device": 1 / 1.1},
            axis="devices",
            rounds=3,
        )
        for what, size, dtype in (
            ("sweep", f"{QUADRATIC}, {LANES} step sizes x 8 seeds", "float64"),
            # a device's part fits its cache, the whole does not, so that more devices may even cost less
            ("loss", "gradients of the denoising loss, batch 512, 64 tokens, d = 64", "float32"),
        )
    ),
    *(
        Case(
            name=name,
            room="scale",
            make=partial(stopping, rates),
            work=lambda quick: float(LANES * SEEDS),
            unit="lanes",
            size=f"{QUADRATIC}, condition 1e4, {size} x {SEEDS} seeds, until |g| < 1e-8",
            dtype="float64",
            target={"vmap(while_loop)": target},
            rounds=3,
        )
        for name, rates, size, target in (
            ("early_stopping", RATES, f"{LANES} step sizes", 3.0),
            ("stopping_together", np.full(LANES, 0.5), f"{LANES} equal step sizes", 1 / 1.1),
        )
    ),
    Case(
        name="scale_store",
        room="scale",
        make=stored,
        work=lambda quick: 1.0,
        unit="calls",
        size=f"{QUADRATIC}, {LANES} step sizes x 8 seeds, a shard for each seed",
        dtype="float64",
        target={"theorylab sweep": 1 / 1.05},
        rounds=3,
    ),
]


if __name__ == "__main__":
    main(*sys.argv[1:])
