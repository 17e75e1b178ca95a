"""Where a result comes from: versions, device, precision, key, and the commit of the working directory if it has
one."""

import functools
import platform
import subprocess
from importlib import metadata
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import PRNGKeyArray


@functools.cache
def _commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


@functools.cache
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a number."""
    names = ("theorylab", "jax", "jaxlib", "equinox", "optax", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(method: Any, key: PRNGKeyArray, **config: Any) -> dict[str, Any]:
    """What a result says of its making; plain values that JSON can hold."""
    device, settings = jax.local_devices()[0], cast(Any, jax.config)
    return {
        "versions": versions(),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.local_device_count(),
        "x64": bool(settings.jax_enable_x64),
        "matmul_precision": settings.jax_default_matmul_precision or "default",
        "method": type(method).__name__,
        "cites": list(getattr(method, "cites", ())),
        "key": {"impl": str(jax.random.key_impl(key)), "data": np.asarray(jax.random.key_data(key)).tolist()},
        "commit": _commit(),
        **config,
    }
