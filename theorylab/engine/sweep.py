"""`sweep`: one method at many settings and seeds, as few matrix products as the settings allow."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from . import status as codes
from ._disk.dataset import assemble
from ._disk.files import read_json
from ._disk.grid import Grid
from ._disk.store import Store
from ._run.arguments import check_steps
from ._run.drive import Compaction, Stats
from ._sweep.axes import SEED
from ._sweep.group import free_memory
from ._sweep.plan import Plan
from ._sweep.request import Request
from ._sweep.share import run_all, usable, workers
from .keys import as_key
from .processes import from_first, together
from .program import highest
from .provenance import provenance
from .record import Record

if TYPE_CHECKING:
    import xarray


@highest
def sweep(
    build: Callable[..., tuple],
    *,
    over: Mapping[str, Any],
    seeds: int | Sequence[int] = 1,
    key: Any,
    steps: int,
    record: Record | Sequence[Record] | None = None,
    until: Any = None,
    lanes: Literal["auto", "vmap", "map"] = "auto",
    chunk: int | None = None,
    compact: Literal["auto", "steps", "never"] = "auto",
    coupling: Literal["seed", "all", "independent"] = "seed",
    memory_limit: int | None = None,
    blocks: int | None = None,
    mesh: Any = None,
    executor: Any = None,
    store: str | Path | None = None,
    progress: bool = False,
    throw: bool = False,
) -> "xarray.Dataset":
    """Run what `build` makes of every combination of settings and seeds.

    Axes that touch the method alone become the inner level, whose matrix-vector products run as one matrix product;
    those that an array of the problem depends on, and the seed, become the outer level. Which is which is found
    exactly, for each dimension, by running `build` once under `vmap`; arrays that no axis touches are shared by all
    lanes.

    **Arguments**

    - `build`: `build(key, *, axis, ...) -> (method, problem)` or `(method, problem, x0)`; its keyword names are the
      axes. Arrays that it closes over are shared. Functions that it returns must not close over an axis' value: pass
      arrays.
    - `over`: the values of each axis, by keyword of `build`: an array or a list; `tl.Cases` of problems, starts or
      tasks, of which `build` receives one; or an `xarray.DataArray` of any dimensions, of which `build` receives one
      value, and whose coordinates label the result. Axes that share a dimension are zipped. Numbers and cases run side
      by side; strings, booleans and arrays of objects are *static*: their values may choose code, and run one after
      the other, with what is zipped with them.
    - `seeds`: how many, or which. Seed `s` has the key `tl.keys.seed_key(key, s)`: `solve` under that key (and
      `build` under `tl.keys.build_key` of it) repeats its lanes, up to the last bits.
    - `key`, `steps`, `record`, `until`, `chunk`, `progress`: as in `solve`.
    - `lanes`: `"auto"` loops over the outer level on CPU and maps it on accelerators, and runs the inner one as the
      method says; `"vmap"` and `"map"` force both.
    - `compact`: drop lanes that have stopped, `"auto"` when it pays (with a store: at sixteenths of the run,
      `"steps"`), or `"never"`.
    - `coupling`: lanes of one seed share its draws (`"seed"`, common random numbers), all lanes share those of the
      first seed (`"all"`: seeds differ in what `build` draws alone, and join the inner level where no array of the
      problem depends on them), or lanes draw their own (`"independent"`).
    - `memory_limit`: bytes on one device; lanes beyond it run block by block. The free memory when None. A block
      that runs out of memory nevertheless is halved, with a warning.
    - `blocks`: how many blocks to cut the lanes into, at least; as many as there are workers or processes when None.
    - `mesh`: the devices to deal the lanes of a block to; all local ones when None.
    - `executor`: runs the blocks elsewhere: anything with `submit(fn, *args)` whose futures have `done()` and
      `result()`, such as `concurrent.futures.ProcessPoolExecutor` (one that spawns) or a submitit executor. `build`
      travels with cloudpickle (`theorylab[sweeps]`). After `tl.launch()` no executor is needed: each process runs its
      share of the blocks, and all get the whole result.
    - `store`: a folder; the same call again resumes or reloads it, and `tl.load` reads it at any time.
    - `throw`: raise `RuntimeError` when a lane fails, instead of giving it its status.

    **Returns** an `xarray.Dataset` with the dimensions of the axes in order of first appearance, then seed and step:
    `value`, `status` (codes, named in its attributes), `steps`, what was recorded (NaN after a lane's end),
    `completed`; `attrs["provenance"]` as JSON.

    **Raises** `TypeError` when `build` branches on a lane's value (naming the axis) or its names are not the axes;
    `ValueError` for bad axes, and for axes that disagree on a dimension; `StoreError` when the store holds something
    else.

    **Source**: derived here; tested against a loop of `solve`.

    **Example**

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> class Bowl:
        ...     def loss(self, x, key):
        ...         return jnp.sum(x**2)
        >>> def build(key, *, rate):
        ...     return tl.Gradient(optax.sgd, learning_rate=rate), Bowl(), jnp.ones(2)
        >>> ds = tl.sweep(build, over={"rate": [0.25, 0.5]}, seeds=3, key=jax.random.key(0), steps=4)
        >>> dict(ds.value.sizes), ds.value.sel(rate=0.25, seed=0).values.tolist()
        ({'rate': 2, 'seed': 3, 'value_0': 2}, [0.0625, 0.0625])
    """
    check_steps(steps)
    if blocks is not None and blocks < 1:
        raise ValueError(f"blocks must be at least 1, got {blocks}; None takes one for each worker or process")
    index, processes = jax.process_index(), jax.process_count()
    if executor is not None:
        usable(executor)
        if mesh is not None or processes > 1:
            raise ValueError("executor: its workers use their own devices; drop mesh=, and do not launch() processes")
    for name, given, allowed in (
        ("lanes", lanes, ("auto", "vmap", "map")),
        ("compact", compact, ("auto", "steps", "never")),
        ("coupling", coupling, ("seed", "all", "independent")),
    ):
        if given not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
    keep: Compaction = compact if compact != "auto" else "auto" if store is None else "steps"
    how = {"lanes": lanes, "chunk": chunk, "compact": keep, "coupling": coupling}
    request = Request.of(build, over, seeds, key, steps, record, until, **how)
    plan = Plan(request, mesh)
    layout, words = plan.layout(), request.axes.words
    own = words.pop(SEED)
    origin = provenance(plan.groups[0].method, as_key(key), steps=steps, over=words, seeds=own)

    def widths() -> np.ndarray:
        if (found := _stored_widths(store)) is not None:
            return found
        if executor is None:
            return plan.widths(memory_limit, blocks or processes)
        many = workers(executor)
        free = free_memory()
        # a pool's workers share this machine
        return plan.widths(memory_limit or (free and free // many), blocks or many)

    none = np.zeros((len(plan.groups), 2), np.int32)
    grid = plan.grid(from_first(together(lambda: widths() if index == 0 else none)))

    def opened(path: str | Path) -> Store:
        levels = [group.loop.levels for group in plan.groups]
        config = {
            "kind": "sweep",
            "grid": grid.as_json(),
            "layout": layout,
            "steps": steps,
            "key": origin["key"],
            "cites": origin["cites"],
            "coupling": coupling,
            "compact": keep,
            "lanes": [f"{level.outer} {level.inner}" for level in levels],
            "x64": origin["x64"],
            "parts": [group.fingerprint() for group in plan.groups],
        }
        if request.axes.digests:
            config["axes"] = request.axes.digests
        return Store(path, config, index)

    stats = Stats()
    with contextlib.ExitStack() as held:
        folder = None
        if store is not None:
            first = together(lambda: opened(store) if index == 0 else None)
            folder = held.enter_context(together(lambda: first or opened(store)))
        shards = run_all(plan, grid, layout, stats, folder, executor, progress)
        if folder is not None and index == 0:
            folder.done({"lanes": grid.shards()[-1].stop})
    dataset = assemble(grid, layout, shards)
    dataset.attrs = {"provenance": json.dumps(origin), "stats": json.dumps(stats.as_dict())}
    if throw:
        _throw(dataset)
    return dataset


def _stored_widths(store: str | Path | None) -> np.ndarray | None:
    """The block plan of a store that exists: memory may be another today, the plan may not."""
    if store is None or not (Path(store) / "config.json").is_file():
        return None
    config = read_json(Path(store) / "config.json")
    if config.get("kind") != "sweep":
        return None
    return np.asarray([part.width for part in Grid.from_json(config["grid"]).parts], np.int32)


def _throw(dataset: "xarray.Dataset") -> None:
    failed = np.isin(dataset["status"].values, (codes.DIVERGED, codes.NONFINITE, codes.INVALID))
    if failed.any():
        first = {
            n: dataset[n].values[i]
            for n, i in zip(dataset["status"].dims, np.argwhere(failed)[0], strict=True)
            if n in dataset.coords
        }
        name = codes.NAMES[int(dataset["status"].values[failed][0])]
        raise RuntimeError(
            f"{int(failed.sum())} of {failed.size} lanes failed; the first, {first}, is {name} at step"
            f" {int(dataset['steps'].values[failed][0])}. Try smaller step sizes, or throw=False to keep the others."
        )
