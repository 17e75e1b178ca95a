"""What this machine can do at most: the best matrix product of any library that is here, and copies.

python benchmarks/ceilings.py
"""

import importlib
import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any


def cpu(sizes: tuple[int, ...] = (512, 1024, 2048)) -> dict[str, float]:
    """GFLOP/s of the best product in both precisions, by NumPy, JAX or PyTorch, and GB/s of a copy."""
    import numpy as np

    found, source = {}, np.ones(2**24)
    for dtype in ("float32", "float64"):
        found[dtype] = max(
            2 * size**3 / _least(product) / 1e9 for size in sizes for product in _products(size, dtype).values()
        )
    target = np.empty_like(source)
    found["copy_gb"] = 2 * source.nbytes / _least(lambda: np.copyto(target, source)) / 1e9
    return found


def _products(size: int, dtype: str) -> dict[str, Callable[[], Any]]:
    """A product of two matrices, by every library."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    a = np.random.default_rng(0).normal(size=(size, size)).astype(dtype)
    found: dict[str, Callable[[], Any]] = {"NumPy": lambda: a @ a}
    multiply = jax.jit(lambda x: x @ x)

    def by_jax() -> None:
        with jax.enable_x64(True):
            multiply(jnp.asarray(a)).block_until_ready()

    found["JAX"] = by_jax
    if not importlib.util.find_spec("torch"):
        return found
    torch = importlib.import_module("torch")
    t = torch.from_numpy(a)
    return found | {"PyTorch": lambda: t @ t}


def _least(fn: Callable[[], Any], repeats: int = 5) -> float:
    fn()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        fn()
        seconds.append(time.process_time() - start)
    return min(seconds)


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
    import machine

    machine.pin()
    print(json.dumps({"kernels": machine.kernels(), "ceilings": cpu()}, indent=1))
