"""What the driver costs: chunks against one long program, start-up."""

import functools
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry

import theorylab as tl


class Quadratic(tl.engine.State):
    """Half of x' diag(h) x; the field `x` holds h."""

    def gradient(self, x):
        return self.x * x


class Descent(tl.Method):
    """Plain gradient descent, the cheapest step there is: what remains is the driver."""

    step_size: jax.Array

    def init(self, problem, key, x0=None):
        return tl.engine.State(tl.engine.start(problem, key, x0))

    def step(self, problem, state, key):
        return tl.engine.State(state.x - self.step_size * problem.gradient(state.x))


DIM, LANES, SEEDS = 64, 128, 2
CURVATURES = np.geomspace(1e-4, 1.0, DIM)
RATES = np.geomspace(2e-3, 1.99, LANES)


def build(key, *, step_size):
    return Descent(step_size), Quadratic(jnp.asarray(CURVATURES)), jax.random.normal(key, (DIM,))


def gradient_norm(problem, state):
    return jnp.linalg.norm(problem.gradient(state.x))


def chunks(quick: bool) -> dict[str, Entry]:
    jax.config.update("jax_enable_x64", True)
    steps = chunk_steps(quick)

    def run(chunk):
        return lambda: tl.sweep(build, over={"step_size": RATES}, seeds=SEEDS, key=0, steps=steps, chunk=chunk)

    @functools.cache
    def fifth_of_a_second() -> int:
        whole = run(steps)
        whole()
        start = time.process_time()
        whole()
        return max(1, int(steps * 0.2 / (time.process_time() - start)))

    return {"in chunks of 0.2 s": Entry(lambda: run(fifth_of_a_second())()), "in one chunk": Entry(run(steps))}


def chunk_steps(quick: bool) -> int:
    return 20_000 if quick else 2_000_000


def startup(quick: bool) -> dict[str, Entry]:
    del quick

    def process(*arguments):
        return Entry(lambda: _child(arguments), cost=lambda seconds: seconds)

    return {
        "import theorylab": process("-c", "import theorylab"),
        "import jax, equinox": process("-c", "import jax, equinox"),
        "import theorylab and its engine": process("-c", "import theorylab; theorylab.solve, theorylab.sweep"),
        "theorylab list": process("-m", "theorylab", "list"),
    }


def _child(arguments) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


CASES = [
    Case(
        name="chunks",
        room="engine",
        make=chunks,
        work=lambda quick: float(LANES * SEEDS * chunk_steps(quick)),
        unit="lane-steps",
        size=f"gradient descent, d = {DIM}, {LANES} step sizes x {SEEDS} seeds",
        dtype="float64",
        target={"in one chunk": 0.95},
    ),
    Case(
        name="start_up",
        room="engine",
        make=startup,
        work=lambda quick: 1.0,
        unit="processes",
        size="a process of its own",
        dtype="-",
        target={"import jax, equinox": 1 / 1.3},
        note="CPU seconds of the child",
    ),
]
