"""Lanes over the local devices: each device runs its own lanes by itself, with nothing to say to the others.

`shard_map` and not automatic partitioning, because the outer level of a sweep is a loop on CPU, which a partitioner
cannot split, and because a device whose lanes have stopped must not wait for the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

AXIS = "lanes"


@dataclass(frozen=True)
class Split:
    """Which level of the lanes is dealt out to the devices of a mesh of one axis; `mesh=None` is one device."""

    mesh: Mesh | None = None
    level: Literal["outer", "inner"] = "outer"

    @property
    def devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    def local(self, x: Any, axis: int | None) -> jax.ShapeDtypeStruct:
        """The shape of one device's part of an array whose lanes stand on `axis`."""
        shape = list(x.shape)
        if axis is not None:
            shape[axis] //= self.devices
        return jax.ShapeDtypeStruct(tuple(shape), x.dtype, weak_type=getattr(x, "weak_type", False))

    def put(self, x: Array, axis: int | None) -> Array:
        return x if self.mesh is None else jax.device_put(x, NamedSharding(self.mesh, self.spec(axis)))

    def spec(self, axis: int | None) -> P:
        return P() if axis is None else P(*[None] * axis, AXIS)

    def wrap(self, inputs: Sequence[int | None], outputs: Sequence[int | None]) -> Callable[[Callable], Callable]:
        """Turns a function of (captured arrays, leaves) on one device into one on all."""
        if self.mesh is None:
            return lambda fn: fn
        return lambda fn: jax.shard_map(
            fn,
            mesh=self.mesh,
            in_specs=(P(), [self.spec(axis) for axis in inputs]),
            out_specs=[self.spec(axis) for axis in outputs],
            # loop states that start from constants carry no mark of the axis; nothing here crosses it
            check_vma=False,
        )


def as_mesh(mesh: Any) -> Mesh:
    """A mesh of one axis over the given mesh's or sequence's devices, or over all local ones when None."""
    if mesh is None:
        devices = jax.local_devices()
    elif isinstance(mesh, Mesh):
        devices = list(mesh.devices.flat)
    else:
        devices = list(mesh)
    if not devices:
        raise ValueError("mesh: it has no device; pass None for all local devices, or a list of jax devices")
    if any(device.process_index != jax.process_index() for device in devices):
        raise ValueError("mesh: a device of it belongs to another process, which deals its own lanes; leave mesh=None")
    return Mesh(np.asarray(devices), (AXIS,))


def split(mesh: Any, outer: int, inner: int) -> Split:
    """How `outer` x `inner` lanes are dealt out: by the outer level, or by the inner one where that fills more
    devices."""
    devices = list(as_mesh(mesh).devices.flat)
    if outer < len(devices) and inner >= 4 * len(devices):
        return Split(as_mesh(devices), "inner")
    used = devices[: min(outer, len(devices))]
    if len(used) == 1:
        return Split(None if used[0] == jnp.zeros(()).device else as_mesh(used))
    return Split(as_mesh(used))
