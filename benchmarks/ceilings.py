"""What this machine can do at most: matrix products and copies, measured where the benchmarks run.

python benchmarks/ceilings.py
"""

import json
import time


def best(fn, repeats: int = 5) -> float:
    fn()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        fn()
        seconds.append(time.process_time() - start)
    return min(seconds)


def cpu(size: int = 1024) -> dict[str, float]:
    """GFLOP/s of a matrix product in both precisions (NumPy's BLAS), and GB/s of a copy."""
    import numpy as np

    rng = np.random.default_rng(0)
    found = {}
    for dtype in ("float32", "float64"):
        a = rng.normal(size=(size, size)).astype(dtype)
        found[dtype] = 2 * size**3 / best(lambda a=a: a @ a) / 1e9
    source = np.ones(2**24)
    target = np.empty_like(source)
    found["copy_gb"] = 2 * source.nbytes / best(lambda: np.copyto(target, source)) / 1e9
    return found


def device(size: int = 8192) -> dict[str, float]:
    """The same of JAX's default device, in wall seconds."""
    import jax
    import jax.numpy as jnp

    found = {}
    for dtype in ("float32", "bfloat16"):
        a = jnp.ones((size, size), dtype)
        multiply = jax.jit(lambda a: a @ a)
        multiply(a).block_until_ready()
        start = time.perf_counter()
        for _ in range(5):
            a2 = multiply(a)
        a2.block_until_ready()
        found[dtype] = 5 * 2 * size**3 / (time.perf_counter() - start) / 1e9
    x = jnp.ones(2**28)
    copy = jax.jit(lambda x: x + 1)
    copy(x).block_until_ready()
    start = time.perf_counter()
    for _ in range(5):
        y = copy(x)
    y.block_until_ready()
    found["copy_gb"] = 5 * 2 * x.nbytes / (time.perf_counter() - start) / 1e9
    return found


if __name__ == "__main__":
    from run import pin

    pin()
    print(json.dumps(cpu(), indent=1))
