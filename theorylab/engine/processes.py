"""Several processes as one run, on JAX's own runtime: who is there, and what they must agree on."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

R = TypeVar("R")


def launch(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float | int = 60,
) -> tuple[int, int]:
    """Join the processes that were started together, so that `sweep` shares its blocks among them.

    Call it once, before anything runs on a device. Slurm's `srun`, Open MPI's `mpirun`, Kubernetes and TPU pods are
    found by JAX, without an argument. A script that was started alone goes on alone, and a second call does nothing:
    the same script serves a laptop and a cluster.

    **Arguments**

    - `coordinator_address`: `"host:port"` of process 0, with a port that is free there; `num_processes`, how many;
      `process_id`, which of them this is, from 0: all three, where JAX cannot find them.
    - `timeout`: seconds of silence after which a process counts as dead, and the others end too.

    **Returns** (process_id, num_processes).

    **Raises** `ValueError` when some of the three are given and others not, `RuntimeError` when a device has been
    used already.

    **Source**: `jax.distributed.initialize`; tested with two processes, one of which is killed.

        >>> import theorylab as tl
        >>> tl.launch("node1:1234", 2)
        Traceback (most recent call last):
        ...
        ValueError: launch: process_id missing; give all of coordinator_address, num_processes, process_id, or none
    """
    given = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(f"launch: {', '.join(missing)} missing; give all of {', '.join(given)}, or none")
    if not timeout > 0:
        raise ValueError(f"launch: timeout must be a positive number of seconds, got {timeout}")
    if not jax.distributed.is_initialized():
        seconds = max(1, round(timeout))
        try:
            jax.distributed.initialize(**given, heartbeat_timeout_seconds=seconds, shutdown_timeout_seconds=seconds)
        except ValueError as error:
            if len(missing) < len(given) or "coordinator_address should be defined" not in str(error):
                raise
            return 0, 1  # nobody started us together with others
    return jax.process_index(), jax.process_count()


def together(act: Callable[[], R]) -> R:
    """What `act` gives here, once all processes have done theirs.

    **Raises** what `act` raises, and `RuntimeError` where it failed in another process.
    """
    if jax.process_count() == 1:
        return act()
    error, result = None, []
    try:
        result.append(act())
    except Exception as caught:
        error = caught
    failed = np.flatnonzero(multihost_utils.process_allgather(np.asarray(error is not None)))
    if error is not None:
        raise error
    if len(failed):
        raise RuntimeError(f"launch: process {failed[0]} failed; its own message says why")
    return result[0]


def from_first(values: np.ndarray) -> np.ndarray:
    """Process 0's values, in every process; of the same shape in all."""
    if jax.process_count() == 1:
        return values
    return np.asarray(multihost_utils.broadcast_one_to_all(values))


def agreed(truth: bool) -> bool:
    """What process 0 says."""
    return bool(from_first(np.asarray(truth)))


def gathered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of the same shapes from all processes, (processes, ...), bit for bit."""

    def gather(x: np.ndarray) -> np.ndarray:
        # as bytes: devices would round float64 to float32 where x64 is off
        plain: Any = multihost_utils.process_allgather(np.ascontiguousarray(x).reshape(-1).view(np.uint8))
        return np.ascontiguousarray(plain).view(x.dtype).reshape(-1, *x.shape)

    return {name: gather(x) for name, x in arrays.items()}
