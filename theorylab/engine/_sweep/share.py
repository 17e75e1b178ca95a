"""Who runs which block: this process alone, several that were launched together, or an executor's workers."""

import contextlib
import functools
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import status as codes
from .._disk.grid import Grid, Rectangle, Shard
from .._disk.store import Store
from .._run.block import Block
from .._run.drive import Stats
from .._run.progress import Progress
from ..processes import gathered, together
from ..program import highest
from .plan import Plan
from .request import Request

Arrays = dict[str, np.ndarray]
POLL = 0.05  # seconds between looks at the futures


def run_all(
    plan: Plan,
    grid: Grid,
    layout: Mapping[str, Any],
    stats: Stats,
    folder: Store | None,
    executor: Any,
    progress: bool,
) -> list[tuple[Shard, Arrays]]:
    """Every block with its variables, in every process; what a store holds is not run again.

    **Raises** what a block raises, and `RuntimeError` when another process has ended too early.
    """
    index, processes, shards = jax.process_index(), jax.process_count(), grid.shards()
    steps = plan.request.timetable.steps
    missing = [n for n, shard in enumerate(shards) if folder is None or not folder.has(shard)]
    together(lambda: None)  # before anybody writes, so that all see the same blocks missing
    shares = [missing[process::processes] for process in range(processes)]
    found: dict[int, Arrays] = {}
    with Progress(progress and index == 0, "sweep", steps * len(shares[index])) as bar:
        if executor is None:
            run = _here(plan, grid, shares[index], stats, folder, bar)
        else:
            tasks = {n: _task(grid, shards[n]) for n in missing}
            run = _elsewhere(executor, packed(plan.request), tasks, stats)
        for count, (n, arrays) in enumerate(run, 1):
            if folder is None:
                found[n] = arrays
            else:
                folder.add(shards[n], arrays)
                folder.forget(shards[n])
            bar.at(count * steps)
    if folder is not None:
        folder.wait({p: [shards[n] for n in share] for p, share in enumerate(shares) if p != index})
        found = {n: folder.read(shard) for n, shard in enumerate(shards)}
    elif processes > 1:
        found = _exchanged(found, shares, shards, layout)
    return [(shard, found[n]) for n, shard in enumerate(shards)]


Task = tuple[int, Rectangle, tuple[int, int]]  # which group, which of its lanes, and how wide its blocks are


def _task(grid: Grid, shard: Shard) -> Task:
    return grid.parts.index(shard.part), shard.block, shard.part.width


def _here(
    plan: Plan, grid: Grid, share: Sequence[int], stats: Stats, folder: Store | None, bar: Progress
) -> Iterator[tuple[int, Arrays]]:
    """Blocks one after the other."""
    shards = grid.shards()
    for count, n in enumerate(share):
        shown = functools.partial(plan.so_far, block=shards[n].block)
        saves = None if folder is None else folder.running(shards[n], shown)
        show = _shower(bar, count * plan.request.timetable.steps)
        yield n, plan.run(*_task(grid, shards[n]), stats, [show], saves)


def _shower(bar: Progress, before: int) -> Callable[[Block], None]:
    return lambda block: bar.at(before + block.t, f"{int((block.codes() == codes.RUNNING).sum())} lanes")


# -- several processes -------------------------------------------------------------------------------------------------


def _exchanged(
    found: Mapping[int, Arrays], shares: Sequence[Sequence[int]], shards: Sequence[Shard], layout: Mapping[str, Any]
) -> dict[int, Arrays]:
    """All processes' blocks, in every process: in rounds, lanes in one axis and padded to the widest block."""
    widest = max(shard.block.lanes for shard in shards)
    blank = {n: np.zeros((widest, *v["shape"]), jnp.dtype(v["dtype"])) for n, v in layout["variables"].items()}
    whole = {}
    for turn in range(max(map(len, shares))):
        own = {name: x.copy() for name, x in blank.items()}
        for n in shares[jax.process_index()][turn : turn + 1]:
            for name, x in found[n].items():
                own[name][: x.shape[0] * x.shape[1]] = x.reshape(-1, *x.shape[2:])
        everyone = gathered(own)
        for process, share in enumerate(shares):
            for n in share[turn : turn + 1]:
                block = shards[n].block
                whole[n] = {
                    name: x[process, : block.lanes].reshape(*block.shape, *x.shape[2:]) for name, x in everyone.items()
                }
    return whole


# -- an executor -------------------------------------------------------------------------------------------------------


def workers(executor: Any) -> int:
    """How many blocks it runs at once; 16 for one that does not say, such as a cluster's queue."""
    return getattr(executor, "_max_workers", None) or 16


def usable(executor: Any) -> None:
    """**Raises** `TypeError` for what is no executor, `ValueError` for a pool that forks this process."""
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must have a method submit, as those of concurrent.futures, got {executor!r}")
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "executor: this pool forks, and JAX's threads do not survive that; make it with"
            " ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))"
        )


class Parcel(NamedTuple):
    """A sweep on its way to another process, with the functions that it holds and what they close over."""

    content: bytes
    x64: bool


def packed(request: Request) -> Parcel:
    """**Raises** `TypeError` when something in the request cannot travel."""
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    settings: Any = jax.config
    try:
        return Parcel(pickler.dumps(request), bool(settings.jax_enable_x64))
    except Exception as error:
        cure = "install cloudpickle (theorylab[sweeps])" if pickler is pickle else "make them from plain arrays"
        raise TypeError(
            f"executor: build, record or until cannot be sent to another process ({error}); {cure}"
        ) from error


@highest
def run(parcel: Parcel, number: int, block: Rectangle, width: tuple[int, int]) -> tuple[dict, dict]:
    """In the worker: the variables of one block, and what it cost."""
    stats = Stats()
    with jax.enable_x64(parcel.x64):
        return _plan(parcel).run(number, block, width, stats), stats.as_dict()


@functools.lru_cache(maxsize=1)
def _plan(parcel: Parcel) -> Plan:
    return Plan(pickle.loads(parcel.content))


def _elsewhere(executor: Any, parcel: Parcel, tasks: Mapping[int, Task], stats: Stats) -> Iterator[tuple[int, Arrays]]:
    """The blocks as they come back: what they are called in `tasks`, and their variables.

    **Raises** what a block raises, with what came back before it kept.
    """
    # a queue of a cluster takes many jobs as one array of jobs
    at_once = getattr(executor, "batch", contextlib.nullcontext)
    with at_once():
        waiting = {name: executor.submit(run, parcel, *task) for name, task in tasks.items()}
    try:
        while waiting:
            ready = [name for name, future in waiting.items() if future.done()]
            if not ready:
                time.sleep(POLL)
            for name in ready:
                arrays, cost = waiting.pop(name).result()
                stats.add(cost)
                yield name, arrays
    finally:
        for future in waiting.values():
            future.cancel()
