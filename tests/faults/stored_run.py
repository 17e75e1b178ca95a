"""A stored run in a process of its own, slow enough to be killed: `python stored_run.py solve|sweep FOLDER`."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine._disk import store

STEPS = 30_000


def main(kind: str, folder: str) -> None:
    # as at a terminal: what a shell starts in the background ignores Ctrl-C, and so does all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert tl.launch() == (0, 1)  # nobody else was started
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[2] / ".jax_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # a checkpoint at every border, many borders, many blocks: a kill may come anywhere
    store.Store.seconds = 0.0
    record = tl.Record(tl.every(500), e=norm, mean=tl.Mean(lambda problem, state: state.x))
    problem = Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.ones(3))
    asked = {"key": 7, "steps": STEPS, "record": record, "chunk": 300}
    if kind == "solve":
        tl.solve(Relax(1e-3, 0.1), problem, store=folder, **asked)
    else:

        def build(key, *, rate):
            return Relax(rate, 0.1), problem, jax.random.normal(key, (3,))

        rule = tl.below(norm, 0.35, every=50)  # some lanes stop early, so that lanes are dropped on the way
        rates = jnp.geomspace(1e-4, 1e-2, 16)
        tl.sweep(
            build,
            over={"rate": rates},
            seeds=3,
            store=folder,
            memory_limit=20_000,
            until=rule,
            mesh=jax.local_devices()[:1],
            **asked,
        )
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
