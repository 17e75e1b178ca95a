"""The machine that measures: one core, its best kernels, and its name."""

import importlib
import importlib.util
import os
import platform
from pathlib import Path

FORCED = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE",
    "BLIS_ARCH_TYPE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
)  # fmt: skip
"""Variables that hold a library to another processor's kernels: a peer would be measured at a fraction of its rate."""


def pin() -> None:
    """One core, one thread, and every library's own choice of kernels; before NumPy or JAX is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    for name in FORCED:
        os.environ.pop(name, None)
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"


def kernels() -> dict[str, str]:
    """Which kernels each library multiplies matrices with, by what it says of itself."""
    import numpy as np
    import threadpoolctl

    np.dot(np.ones(2), np.ones(2))  # loads NumPy's library
    found = {}
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            owner = next((part for part in Path(library["filepath"]).parts if part.split(".")[0] in _OWNERS), "other")
            found[owner.split(".")[0]] = f"{library['internal_api']} {library['version']} {library['architecture']}"
    if not importlib.util.find_spec("torch"):
        return found
    torch = importlib.import_module("torch")
    return found | {"torch": f"{'MKL, ' * torch.backends.mkl.is_available()}{torch.backends.cpu.get_cpu_capability()}"}


_OWNERS = {"numpy", "scipy", "torch"}


def about() -> dict[str, str]:
    """The processor, the device and the versions."""
    import jax

    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    device = jax.local_devices()[0]
    return {
        "cpu": model,
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
