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
from .._disk.dataset import Grid, Part
from .._disk.store import Store
from .._run.block import Block
from .._run.drive import Stats
from .._run.program import highest
from .._run.progress import Progress
from .launch import gathered, together
from .work import Asked, Work

Arrays = dict[str, np.ndarray]
POLL = 0.05  # seconds between looks at the futures


def run_all(
    work: Work,
    grid: Grid,
    layout: Mapping[str, Any],
    stats: Stats,
    folder: Store | None,
    executor: Any,
    progress: bool,
) -> list[tuple[Part, list[int], Arrays]]:
    """Every block with its variables, in every process; what a store holds is not run again.

    **Raises** what a block raises, and `RuntimeError` when another process has ended too early.
    """
    index, processes, places = jax.process_index(), jax.process_count(), grid.places()
    missing = [n for n, (*_, start, stop) in enumerate(places) if folder is None or not folder.has(start, stop)]
    together(lambda: None)  # before anybody writes, so that all see the same blocks missing
    shares = [missing[process::processes] for process in range(processes)]
    found: dict[int, Arrays] = {}
    with Progress(progress and index == 0, "sweep", work.asked.steps * len(shares[index])) as bar:
        if executor is None:
            run = _here(work, grid, shares[index], stats, folder, bar)
        else:
            tasks = {n: (grid.parts.index(places[n][0]), places[n][1], places[n][0].width) for n in missing}
            run = _elsewhere(executor, packed(work.asked), tasks, stats)
        for count, (n, arrays) in enumerate(run, 1):
            *_, start, stop = places[n]
            if folder is None:
                found[n] = arrays
            else:
                folder.add(start, stop, arrays)
                folder.forget(start)
            bar.at(count * work.asked.steps)
    if folder is not None:
        folder.wait({p: [places[n][2:] for n in share] for p, share in enumerate(shares) if p != index})
        found = {n: folder.shard(start, stop) for n, (*_, start, stop) in enumerate(places)}
    elif processes > 1:
        found = _exchanged(found, shares, places, layout)
    return [(part, block, found[n]) for n, (part, block, *_) in enumerate(places)]


def _here(
    work: Work, grid: Grid, share: Sequence[int], stats: Stats, folder: Store | None, bar: Progress
) -> Iterator[tuple[int, Arrays]]:
    """Blocks one after the other."""
    places = grid.places()
    for count, n in enumerate(share):
        part, block, start, _ = places[n]
        saves = None if folder is None else folder.running(start, functools.partial(work.so_far, lanes=block))
        show = _shower(bar, count * work.asked.steps)
        yield n, work.run(grid.parts.index(part), block, part.width, stats, [show], saves)


def _shower(bar: Progress, before: int) -> Callable[[Block], None]:
    return lambda block: bar.at(before + block.t, f"{int((block.codes() == codes.RUNNING).sum())} lanes")


# -- several processes -------------------------------------------------------------------------------------------------


def _exchanged(
    found: Mapping[int, Arrays], shares: Sequence[Sequence[int]], places: Sequence, layout: Mapping[str, Any]
) -> dict[int, Arrays]:
    """All processes' blocks, in every process: in rounds, lanes in one axis and padded to the widest block."""
    widest = max(stop - start for *_, start, stop in places)
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
                o0, o1, i0, i1 = places[n][1]
                shape = o1 - o0, i1 - i0
                whole[n] = {
                    name: x[process, : shape[0] * shape[1]].reshape(*shape, *x.shape[2:])
                    for name, x in everyone.items()
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


def packed(asked: Asked) -> Parcel:
    """**Raises** `TypeError` when something in what was asked cannot travel."""
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    settings: Any = jax.config
    try:
        return Parcel(pickler.dumps(asked), bool(settings.jax_enable_x64))
    except Exception as error:
        cure = "install cloudpickle (theorylab[sweeps])" if pickler is pickle else "make them from plain arrays"
        raise TypeError(
            f"executor: build, record or until cannot be sent to another process ({error}); {cure}"
        ) from error


@highest
def run(parcel: Parcel, number: int, block: list[int], width: tuple[int, int]) -> tuple[dict, dict]:
    """In the worker: the variables of one block, and what it cost."""
    stats = Stats()
    with jax.enable_x64(parcel.x64):
        return _work(parcel).run(number, block, width, stats), stats.as_dict()


@functools.lru_cache(maxsize=1)
def _work(parcel: Parcel) -> Work:
    return Work(pickle.loads(parcel.content))


def _elsewhere(
    executor: Any, parcel: Parcel, tasks: Mapping[int, tuple[int, list[int], tuple[int, int]]], stats: Stats
) -> Iterator[tuple[int, Arrays]]:
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
