"""One of several processes that sweep together: `python member.py KIND PORT|slurm PROCESS FOLDER`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine import program
from theorylab.engine._disk import store

PROCESSES, STEPS = 2, 20_000
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def asked(steps: int, x64: bool) -> dict:
    """A sweep of 8 x 3 lanes in six blocks, of which some stop early."""
    dtype = jnp.float64 if x64 else jnp.float32
    problem = Linear(jnp.asarray([1.0, 2.0, 4.0], dtype), jnp.ones(3, dtype))

    def build(key, *, rate):
        return Relax(rate, 0.1), problem, jax.random.normal(key, (3,), dtype)

    return {
        "build": build,
        "over": {"rate": jnp.geomspace(1e-4, 1e-2, 8, dtype=dtype)},
        "seeds": 3,
        "key": 7,
        "steps": steps,
        "record": tl.Record(tl.every(steps // 4), e=norm, mean=tl.Mean(lambda problem, state: state.x)),
        "until": tl.below(norm, 0.35, every=50),
        "chunk": 200,
        "blocks": 6,
    }


def main(kind: str, port: str, process: str, folder: str) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", kind != "float32")
    jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[2] / ".jax_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    given = () if port == "slurm" else (f"127.0.0.1:{port}", PROCESSES, int(process))
    where = tl.launch(*given, timeout=20)
    assert where == (int(process), PROCESSES) == tl.launch()  # a second time changes nothing
    out = Path(folder)
    if kind == "killed":
        store.Store.seconds = 0.0
        tl.sweep(**asked(STEPS, True), store=out / "store")
    else:
        for name, keywords in (("alone", {}), ("stored", {"store": out / "store"})):
            ds = tl.sweep(**asked(400, kind != "float32"), **keywords)
            with open(out / f"{name}-{process}.npz", "wb") as file:
                np.savez(file, **{n: ds[n].values for n in ds.variables})
        advance = [made.call.as_text() for made in program._programs.values()]
        assert advance and not any(word in text for text in advance for word in COLLECTIVES)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
