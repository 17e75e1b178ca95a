"""Results on disk: files that are written once, under a temporary name, and renamed; nothing is ever unpickled.

config.json  env.json          what was asked, with what
shards/<range>.npz             finished blocks of lanes, each with a checksum
state/<first lane>-<step>.npz  a running block at a chunk border; its last two are kept
done.json                      written last
"""

import difflib
import fcntl
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._run.block import Block
from .._run.loop import Loop
from .._run.system import Timetable
from ..program import trace
from ..provenance import versions
from .dataset import SCHEMA, SHOWN, columns, describe, shard_file, states
from .files import StoreError, read_arrays, read_json, write_arrays, write_json
from .grid import ALONE, Shard
from .interrupt import Interruption


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


SHARE = 30  # seconds of steps, at the least, for one second of writing states


class Store:
    """A folder that belongs to one configuration, and to one run at a time, whose processes each write their blocks.

    Process 0 opens it first, and writes the configuration.

    **Raises** `StoreError` when the folder holds another configuration (showing what differs) or is in use,
    `NotADirectoryError` when a file stands in its place.
    """

    seconds: float = 1.0  # between checkpoints; more where writing one takes long

    def __init__(self, path: str | Path, config: dict[str, Any], process: int = 0):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"store: {self.path} is a file; name a folder")
        for folder in (self.path, self.path / "shards", self.path / "state"):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.is_symlink() and folder != self.path:
                raise StoreError(f"store: {folder} is a link out of the store; delete it, or name another folder")
        lock = _locked(self._lock_of(process))
        if lock is None:
            raise StoreError(f"store: {self.path} is in use by another process; wait for it, or name another folder")
        self._lock = lock
        self.config = json.loads(json.dumps({"schema": SCHEMA, **config}))
        self.interruption, self._saved, self._cost = Interruption(), time.monotonic(), 0.0
        try:
            if process == 0:
                for left in self.path.rglob(".*.tmp"):
                    left.unlink(missing_ok=True)
            self._begin()
        except BaseException:
            self.close()
            raise

    def _lock_of(self, process: int) -> Path:
        return self.path / (f".lock-{process}" if process else ".lock")

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

    def __enter__(self) -> "Store":
        self.interruption.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
        self.interruption.__exit__(*error)

    def close(self) -> None:
        self._lock.close()

    # -- blocks --------------------------------------------------------------------------------------------------------

    def has(self, shard: Shard) -> bool:
        """Whether a block is finished."""
        return shard_file(self.path, shard).exists()

    def read(self, shard: Shard) -> dict[str, np.ndarray]:
        """A finished block."""
        return read_arrays(shard_file(self.path, shard))

    def add(self, shard: Shard, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a finished block."""
        write_arrays(shard_file(self.path, shard), arrays)

    def wait(self, others: Mapping[int, Sequence[Shard]]) -> None:
        """Until the other processes' blocks are all finished.

        **Raises** `RuntimeError` when one of them has ended before.
        """
        for process, shards in others.items():
            while not all(self.has(shard) for shard in shards):
                lock = _locked(self._lock_of(process))
                if lock is not None:
                    lock.close()
                    left = sum(not self.has(shard) for shard in shards)
                    if not left:
                        break
                    raise RuntimeError(
                        f"store: process {process} ended with {left} of its {len(shards)} blocks missing in"
                        f" {self.path}. What is finished is kept: start the same run again to go on."
                    )
                time.sleep(0.1)

    def done(self, content: dict[str, Any]) -> None:
        write_json(self.path / "done.json", content)

    # -- running blocks ------------------------------------------------------------------------------------------------

    def forget(self, shard: Shard) -> None:
        """The states of a finished block are no longer needed."""
        for file in states(self.path, shard.start):
            file.unlink()

    def running(self, shard: Shard, shown: Callable[[Block], Mapping[str, np.ndarray]]) -> "Running":
        """Where a block is saved while it runs, with the variables that it has to show."""
        return Running(self, shard.start, shown)

    def save(
        self, block: Block, start: int, shown: Callable[[Block], Mapping[str, np.ndarray]], *, now: bool = False
    ) -> None:
        """Save a running block, at most once in `seconds` unless `now`."""
        if not now and time.monotonic() - self._saved < self.seconds * max(1, SHARE * self._cost):
            return
        start_of_write = time.monotonic()
        place = {"t": np.asarray(block.t), "outer": block.outer, "inner": block.inner}
        results = {} if block.results is None else named(block.results, "results.")
        visible = {SHOWN + name: x for name, x in shown(block).items()}
        content = {**place, **named(block.carry, "carry."), **results, **visible}
        write_arrays(self.path / "state" / f"{start:09d}-{block.t}.npz", content)
        for file in states(self.path, start)[:-2]:
            file.unlink()
        self._saved = time.monotonic()
        self._cost = self._saved - start_of_write

    def resume(self, block: Block, start: int) -> None:
        """Bring a block to the latest state that was saved of it, if there is one."""
        for file in reversed(states(self.path, start)):
            try:
                arrays = read_arrays(file)
            except StoreError as error:
                warnings.warn(f"{error}; going on from an earlier state", stacklevel=3)
                continue
            if len(arrays["outer"]) < len(block.outer) or len(arrays["inner"]) < len(block.inner):
                block.keep(arrays["outer"], arrays["inner"])
                block.results = refill(block.results, "results.", arrays)
            block.carry = refill(block.carry, "carry.", arrays)
            block.t = int(arrays["t"])
            return


class Running:
    """A running block's place in a store: called at the borders of chunks, it saves the block and heeds signals."""

    def __init__(self, store: Store, start: int, shown: Callable[[Block], Mapping[str, np.ndarray]]):
        self._store, self._start, self._shown = store, start, shown

    def resume(self, block: Block) -> None:
        self._store.resume(block, self._start)

    def __call__(self, block: Block) -> None:
        self._store.save(block, self._start, self._shown)
        self._store.interruption.heed(lambda: self.now(block))

    def now(self, block: Block) -> str:
        """Save the block, and say so."""
        self._store.save(block, self._start, self._shown, now=True)
        return f"stopped at step {block.t}, saved in {self._store.path}; the same call again goes on from there"


def _locked(path: Path) -> Any:
    """The file, locked for as long as it is open; None when another process has it."""
    file = open(path, "w")  # noqa: SIM115  open as long as the store, since closing it gives up the lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def fingerprint(loop: Loop, arrays: Sequence[Array], key: Array) -> dict[str, str]:
    """What a configuration says of code and data: the text of one lane's step and records, and the bytes of its
    arrays."""

    def one_lane(arrays, key, t):
        state = loop.first_state(arrays, key)
        lane = loop.first_lane(arrays, state, t)
        state = loop.next_state(arrays, key, state, t)
        system = loop.system(arrays)
        rows = [loop.row(arrays, state, r) for r in range(len(system.records))]
        reduced = [loop.reduce(arrays, state, lane, t, r) for r in range(len(system.records))]
        asked = [loop.ask(arrays, state, lane, t, s) for s in range(len(system.stops))]
        return state, lane, rows, reduced, asked

    traced = trace(one_lane, list(arrays), key, jax.ShapeDtypeStruct((), jnp.int32))
    data = hashlib.sha256()
    for x in [*arrays, *traced.captured]:
        data.update(str((x.shape, str(x.dtype))).encode() + _plain(x).tobytes())
    return {"program": traced.fingerprint, "data": data.hexdigest()}


class SolveStore:
    """The store of one solve: a block of one lane, whose final state is kept too."""

    def __init__(
        self,
        path: str | Path,
        loop: Loop,
        arrays: Sequence[Array],
        key: Array,
        timetable: Timetable,
        begun: int,
        origin: Mapping[str, Any],
    ):
        shapes = jax.eval_shape(loop.begin, list(arrays), key, jnp.int32(0), timetable.tables)
        self._timetable, (self._shard,) = timetable, ALONE.shards()
        config = {
            "kind": "solve",
            "grid": ALONE.as_json(),
            "layout": describe(shapes, timetable),
            "from": begun,
            "steps": timetable.steps - begun,
            "key": origin["key"],
            "cites": origin["cites"],
            "x64": origin["x64"],
            "parts": [fingerprint(loop, arrays, key)],
        }
        self._store = Store(path, config)

    @property
    def finished(self) -> bool:
        return (self._store.path / "done.json").exists()

    def __enter__(self) -> Running:
        self._store.__enter__()
        return self._store.running(self._shard, self._shown)

    def _shown(self, block: Block) -> dict[str, np.ndarray]:
        return columns(block.so_far(), self._timetable)

    def __exit__(self, *error: Any) -> None:
        self._store.__exit__(*error)

    def finish(self, block: Block) -> None:
        """Write the state at its end, which a reload gives back, then the result."""
        self._store.save(block, self._shard.start, self._shown, now=True)
        self._store.add(self._shard, columns(block.harvest(), self._timetable))
        self._store.done({"lanes": 1})
