"""Is this machine fit to run? One look at everything, one compile, one solve, and the cure of what is wrong."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_RANGE = ((0, 10), (0, 13))  # of jax, as in pyproject.toml


def examine(cache: Path) -> dict[str, Any]:
    """Look at what the library finds here, and at what is wrong with it.

    **Arguments**: `cache`, the folder of compiled programs.

    **Returns** a dictionary of plain words and numbers: versions, devices, precision, cache, the seconds that one
    compile and one solve took; `problems` is a list of `{"what", "cure"}`, empty on a healthy machine.

        >>> import pathlib, tempfile
        >>> from theorylab.report.doctor import examine
        >>> examine(pathlib.Path(tempfile.gettempdir()))["problems"]
        []
    """
    import jax

    from .runs import environment

    findings: dict[str, Any] = environment()
    findings |= {
        "backend": jax.default_backend(),
        "devices": [str(device) for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "x64": bool(jax.config.values["jax_enable_x64"]),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"] or "default",
        "cache": str(cache),
    }
    problems = list(_static_problems(findings, cache))
    for name, trial in (("compile_seconds", _compile), ("solve_seconds", _solve)):
        start = time.perf_counter()
        try:
            trial()
            findings[name] = round(time.perf_counter() - start, 3)
        except Exception as error:  # whatever it is, it belongs in the diagnosis
            findings[name] = None
            what = f"one {name.removesuffix('_seconds')} failed: {type(error).__name__}: {error}"
            problems.append({"what": what, "cure": "reinstall: python -m pip install --force-reinstall theorylab"})
    return findings | {"problems": problems}


def _static_problems(findings: dict[str, Any], cache: Path) -> Iterator[dict[str, str]]:
    version = tuple(int(part) for part in findings["versions"]["jax"].split(".")[:2])
    if not _RANGE[0] <= version < _RANGE[1]:
        yield {
            "what": f"jax {findings['versions']['jax']} is outside the tested range",
            "cure": "python -m pip install 'jax>=0.10,<0.13'",
        }
    if findings["backend"] == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        yield {
            "what": "an NVIDIA GPU is here, but JAX sees only the CPU",
            "cure": "python -m pip install 'theorylab[cuda]', or set JAX_PLATFORMS=cpu if that is meant",
        }
    try:
        cache.mkdir(parents=True, exist_ok=True)
        (probe := cache / f".probe{os.getpid()}").write_text("")
        probe.unlink()
    except OSError as error:
        yield {
            "what": f"the cache cannot be written ({error}), so that every run compiles again",
            "cure": "set THEORYLAB_CACHE to a folder that can",
        }


def _compile() -> None:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        value = jax.jit(lambda x: jnp.sum(jnp.sin(x) ** 2 + jnp.cos(x) ** 2))(jnp.linspace(0.0, 1.0, 1000))
    if abs(float(value) - 1000) > 1e-9:
        raise ArithmeticError(f"1000 times sin^2 + cos^2 gave {float(value)!r} in float64")


def _solve() -> None:
    import jax
    import jax.numpy as jnp

    import theorylab.engine as tl

    class Halve(tl.Method):
        def init(self, problem, key, x0=None):
            return tl.State(tl.start(problem, key, x0))

        def step(self, problem, state, key):
            return tl.State(state.x / 2)

    value = float(tl.solve(Halve(), None, jnp.asarray(8.0), key=jax.random.key(0), steps=3).value)
    if value != 1.0:
        raise ArithmeticError(f"8 halved three times gave {value!r}")
