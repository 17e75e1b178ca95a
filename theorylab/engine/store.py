"""Results on disk: files that are written once, under a temporary name, and renamed; nothing is ever unpickled.

config.json  env.json          what was asked, with what
shards/<range>.npz             finished blocks of lanes, each with a checksum
state/<step>.npz               the running block at a chunk border; the last two are kept
done.json                      written last
"""

import difflib
import fcntl
import hashlib
import json
import os
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .block import Block, tables
from .dataset import Grid, Part, columns, describe
from .loop import Task
from .program import trace
from .provenance import versions
from .record import Record

SCHEMA = 1


class StoreError(ValueError):
    """A store that does not fit what is asked of it, or is damaged."""


def write(path: Path, save: Callable[[Any], None]) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename.

    **Raises** `OSError` with the cure when the disk refuses; what stood before still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"store: {path} could not be written ({error.strerror}). What was written before is whole: make room and"
            " run the same call again to go on.",
        ) from error


def write_json(path: Path, content: Any) -> None:
    write(path, lambda file: file.write(json.dumps(content, indent=1, allow_nan=False).encode()))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    content = {**arrays, "sha256": np.frombuffer(_digest(arrays), np.uint8)}
    write(path, lambda file: np.savez(file, allow_pickle=False, **content))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, after a look at its checksum.

    **Raises** `StoreError` when it is truncated or altered.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if arrays.pop("sha256").tobytes() == _digest(arrays):
            return arrays
        reason = "its checksum does not fit its content"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error)
    raise StoreError(
        f"store: {path} is damaged ({reason}). Delete this file and run the same call again: only its lanes are"
        " computed anew"
    )


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    content = hashlib.sha256()
    for name in sorted(arrays):
        x = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {x.dtype.str} {x.shape} ".encode())
        content.update(x.tobytes())
    return content.digest()


def named(tree: PyTree, prefix: str) -> dict[str, np.ndarray]:
    """The leaves of a pytree by path, random keys as their data."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {prefix + jax.tree_util.keystr(path, simple=True, separator="."): _plain(leaf) for path, leaf in leaves}


def _plain(x: Any) -> np.ndarray:
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.asarray(x)
    return x.view(np.uint16) if x.dtype.name == "bfloat16" else x


def refill(tree: PyTree, prefix: str, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """The pytree with its leaves taken from `named` arrays, each put where the old leaf lies."""

    def leaf(path, old):
        new = arrays[prefix + jax.tree_util.keystr(path, simple=True, separator=".")]
        if isinstance(old, np.ndarray):
            return new.view(old.dtype)
        if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(new), impl=jax.random.key_impl(old))
        return jax.device_put(new.view(old.dtype), old.sharding)

    return jax.tree_util.tree_map_with_path(leaf, tree)


class Store:
    """A folder that belongs to one configuration, and to one process at a time.

    **Raises** `StoreError` when the folder holds another configuration (showing what differs) or is in use,
    `NotADirectoryError` when a file stands in its place.
    """

    seconds: float = 1.0  # between checkpoints

    def __init__(self, path: str | Path, config: dict[str, Any]):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"store: {self.path} is a file; name a folder")
        for folder in (self.path, self.path / "shards", self.path / "state"):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  open as long as the store, since closing it gives up the lock
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StoreError(
                f"store: {self.path} is in use by another process; wait for it, or name another folder"
            ) from None
        for left in self.path.rglob(".*.tmp"):
            left.unlink(missing_ok=True)
        self.config = json.loads(json.dumps({"schema": SCHEMA, **config}))
        self._saved = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        file = self.path / "config.json"
        if not file.exists():
            write_json(self.path / "env.json", versions())
            write_json(file, self.config)
            return
        old = read_json(file)
        if old != self.config:
            difference = "\n".join(
                difflib.unified_diff(
                    json.dumps(old, indent=1, sort_keys=True).splitlines(),
                    json.dumps(self.config, indent=1, sort_keys=True).splitlines(),
                    "stored",
                    "asked",
                    lineterm="",
                    n=1,
                )
            )
            raise StoreError(
                f"store: {self.path} holds another configuration. Name another folder, or ask for what it holds:\n"
                f"{difference[:4000]}"
            )
        env = read_json(self.path / "env.json")
        changed = [f"{name} {env.get(name)} -> {now}" for name, now in versions().items() if env.get(name) != now]
        if changed:
            warnings.warn(
                f"store: {self.path} was written with other versions ({', '.join(changed)}): last bits may differ",
                stacklevel=4,
            )

    def close(self) -> None:
        self._lock.close()

    # -- blocks --------------------------------------------------------------------------------------------------------

    def shard(self, start: int, stop: int) -> dict[str, np.ndarray] | None:
        """A finished block, or None."""
        file = self.path / "shards" / f"{start:09d}-{stop:09d}.npz"
        return read_arrays(file) if file.exists() else None

    def add(self, start: int, stop: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a finished block; its running states are no longer needed."""
        write_arrays(self.path / "shards" / f"{start:09d}-{stop:09d}.npz", arrays)
        for file in self._states():
            file.unlink()

    def done(self, content: dict[str, Any]) -> None:
        write_json(self.path / "done.json", content)

    def _states(self) -> list[Path]:
        return sorted((self.path / "state").glob("[0-9]*.npz"), key=lambda file: int(file.stem))

    def checkpoint(self, block: Block, start: int, *, now: bool = False) -> None:
        """Save the running block, at most once a second unless `now`."""
        if not now and time.monotonic() - self._saved < self.seconds:
            return
        place = {"t": np.asarray(block.t), "start": np.asarray(start), "outer": block.outer, "inner": block.inner}
        results = {} if block.results is None else named(block.results, "results.")
        write_arrays(self.path / "state" / f"{block.t}.npz", {**place, **named(block.carry, "carry."), **results})
        for file in self._states()[:-2]:
            file.unlink()
        self._saved = time.monotonic()

    def resume(self, block: Block, start: int) -> None:
        """Bring a block to the latest state that was saved of it, if there is one."""
        for file in reversed(self._states()):
            try:
                arrays = read_arrays(file)
            except StoreError as error:
                warnings.warn(f"{error}; going on from an earlier state", stacklevel=3)
                continue
            if int(arrays["start"]) != start:
                continue
            if len(arrays["outer"]) < len(block.outer) or len(arrays["inner"]) < len(block.inner):
                block.keep(arrays["outer"], arrays["inner"])
                block.results = refill(block.results, "results.", arrays)
            block.carry = refill(block.carry, "carry.", arrays)
            block.t = int(arrays["t"])
            return


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"store: {path} cannot be read ({error}); is {path.parent} a theorylab store?") from error


def fingerprint(task: Task, system: Sequence[Array], key: Array) -> dict[str, str]:
    """What a configuration says of code and data: the text of one lane's step and records, and the bytes of its
    arrays."""

    def one_lane(system, key, t):
        state = task.first_state(system, key)
        lane = task.first_lane(system, state, t)
        state = task.next_state(system, key, state, t)
        _, _, _, records, stops = task.rebuild(system)
        rows = [task.row(system, state, r) for r in range(len(records))]
        reduced = [task.reduce(system, state, lane, t, r) for r in range(len(records))]
        asked = [task.ask(system, state, lane, t, s) for s in range(len(stops))]
        return state, lane, rows, reduced, asked

    traced = trace(one_lane, list(system), key, jax.ShapeDtypeStruct((), jnp.int32))
    data = hashlib.sha256()
    for x in [*system, *traced.captured]:
        data.update(str((x.shape, str(x.dtype))).encode() + _plain(x).tobytes())
    return {"program": traced.fingerprint, "data": data.hexdigest()}


class SolveStore:
    """The store of one solve: a block of one lane, whose final state is kept too."""

    def __init__(
        self,
        path: str | Path,
        task: Task,
        system: Sequence[Array],
        key: Array,
        records: Sequence[Record],
        times: Sequence[np.ndarray],
        steps: tuple[int, int],
        origin: Mapping[str, Any],
    ):
        shapes = jax.eval_shape(task.begin, list(system), key, jnp.int32(0), tables(times, sum(steps)))
        lane = jax.tree.map(
            lambda x: np.zeros((1, 1, *x.shape), x.dtype), (shapes.lane._replace(stops=()), shapes.rows)
        )
        self._records, self._times = records, times
        self._store = Store(
            path,
            {
                "kind": "solve",
                "grid": Grid({}, [Part({}, [], [], [[0, 1, 0, 1]])]).as_json(),
                "layout": describe(columns(lane, records, times), records, times),
                "from": steps[0],
                "steps": steps[1],
                "key": origin["key"],
                "cites": origin["cites"],
                "x64": origin["x64"],
                "parts": [fingerprint(task, system, key)],
            },
        )

    @property
    def finished(self) -> bool:
        return (self._store.path / "done.json").exists()

    def resume(self, block: Block) -> None:
        self._store.resume(block, 0)

    def checkpoint(self, block: Block) -> None:
        self._store.checkpoint(block, 0)

    def finish(self, block: Block) -> None:
        """Write the result, then the state at its end, which a reload gives back."""
        self._store.checkpoint(block, 0, now=True)
        found = columns(block.harvest(), self._records, self._times)
        write_arrays(self._store.path / "shards" / "000000000-000000001.npz", found)
        self._store.done({"lanes": 1})

    def close(self) -> None:
        self._store.close()
