"""`sweep`: one method at many settings and seeds, as few matrix products as the settings allow."""

import difflib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from . import status as codes
from .block import Block
from .dataset import Grid, Part, assemble, columns
from .drive import Compaction, Stats, drive
from .keys import as_key
from .plan import SEED, Draws, Plan
from .program import highest
from .progress import Progress
from .provenance import provenance
from .record import Record, as_records
from .until import as_stops

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
    mesh: Any = None,
    store: str | Path | None = None,
    progress: bool = False,
    throw: bool = False,
) -> "xarray.Dataset":
    """Run what `build` makes of every combination of settings and seeds.

    Axes that touch the method alone become the inner level, whose matrix-vector products run as one matrix product;
    axes that an array of the problem depends on, and the seed, become the outer level. Which is which is found
    exactly, by running `build` once under `vmap`; arrays that no axis touches are shared by all lanes.

    **Arguments**

    - `build`: `build(key, *, axis, ...) -> (method, problem)` or `(method, problem, x0)`; its keyword names are the
      axes. Arrays that it closes over are shared. Functions that it returns must not close over an axis' value: pass
      arrays.
    - `over`: the values of each axis. Numbers run side by side; strings, booleans and arrays of objects are *static*:
      their values may choose code, and run one after the other.
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
    - `memory_limit`: bytes on one device; lanes beyond it run block by block. The free memory when None.
    - `mesh`: the devices to deal the lanes to; all local ones when None.
    - `store`: a folder; the same call again resumes or reloads it, and `tl.load` reads it at any time.
    - `throw`: raise `RuntimeError` when a lane fails, instead of giving it its status.

    **Returns** an `xarray.Dataset` with dimensions (axes, seed, step): `value`, `status` (codes, named in its
    attributes), `steps`, what was recorded (NaN after a lane's end), `completed`; `attrs["provenance"]` as JSON.

    **Raises** `TypeError` when `build` branches on a lane's value (naming the axis) or its names are not the axes;
    `ValueError` for bad axes; `StoreError` when the store holds something else.

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
    from ._solve import _check_steps

    _check_steps(steps)
    for name, given, allowed in (
        ("lanes", lanes, ("auto", "vmap", "map")),
        ("compact", compact, ("auto", "steps", "never")),
        ("coupling", coupling, ("seed", "all", "independent")),
    ):
        if given not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
    key, records, stops = as_key(key), as_records(record), as_stops(until)
    times = [one.when.times(steps) for one in records]
    axes = _axes(build, over, seeds)
    moving = {n: v for n, v in axes.items() if isinstance(v, np.ndarray)}
    fixed = {n: v for n, v in axes.items() if n not in moving}
    draws = Draws(key, moving.pop(SEED))

    plans = []
    for place in np.ndindex(*[len(v) for v in fixed.values()]):
        static = {n: v[i] for (n, v), i in zip(fixed.items(), place, strict=True)}
        plans.append(
            Plan(
                build,
                static,
                moving,
                draws,
                (records, stops),
                lanes=lanes,
                coupling=coupling,
                mesh=mesh,
                when=(times, steps),
            )
        )
    labels = {n: [_label(x) for x in v] if n in fixed else v.tolist() for n, v in axes.items()}
    stored = _stored_parts(store)
    parts = [
        Part({n: _label(v) for n, v in plan.static.items()}, plan.outer, plan.inner, blocks)
        for plan, blocks in zip(plans, stored or [plan.blocks(memory_limit) for plan in plans], strict=True)
    ]
    grid = Grid(labels, parts)
    layout = plans[0].layout(records)
    for plan in plans[1:]:
        if plan.layout(records) != layout:
            raise ValueError(
                f"over: {plan.static} gives results of other shapes than {plans[0].static}; sweep them apart"
            )
    origin = provenance(
        plans[0].method, key, steps=steps, over={n: v for n, v in labels.items() if n != SEED}, seeds=labels[SEED]
    )
    keep: Compaction = compact if compact != "auto" or store is None else "steps"

    folder = None
    if store is not None:
        from .store import Store

        folder = Store(
            store,
            {
                "kind": "sweep",
                "grid": grid.as_json(),
                "layout": layout,
                "steps": steps,
                "key": origin["key"],
                "cites": origin["cites"],
                "coupling": coupling,
                "compact": keep,
                "lanes": [plan.task.levels.outer + " " + plan.task.levels.inner for plan in plans],
                "x64": origin["x64"],
                "parts": [plan.fingerprint() for plan in plans],
            },
        )
    stats, shards = Stats(), []
    try:
        with Progress(progress, "sweep", steps * len(grid.places())) as bar:
            for n, (part, block, start, stop) in enumerate(grid.places()):
                arrays = folder.shard(start, stop) if folder is not None else None
                if arrays is None:
                    plan = plans[parts.index(part)]
                    hooks = [_shower(bar, n * steps)]
                    if folder is not None:
                        hooks.append(partial(folder.checkpoint, start=start))
                    running = plan.begin(block, part.width)
                    if folder is not None:
                        folder.resume(running, start)
                    drive(running, steps, stats, chunk=chunk, compact=keep, after=hooks)
                    o0, o1, i0, i1 = block
                    found = columns(running.harvest(), records, times)
                    arrays = {name: x[: o1 - o0, : i1 - i0] for name, x in found.items()}
                    if folder is not None:
                        folder.add(start, stop, arrays)
                shards.append((part, block, arrays))
                bar.at((n + 1) * steps)
        if folder is not None:
            folder.done({"lanes": sum(stop - start for *_, start, stop in grid.places())})
    finally:
        if folder is not None:
            folder.close()
    dataset = assemble(grid, layout, shards)
    for name, values in moving.items():
        if values.ndim == 1:
            dataset = dataset.assign_coords({name: values})
    dataset.attrs = {"provenance": json.dumps(origin), "stats": json.dumps(stats.as_dict())}
    if throw:
        _throw(dataset)
    return dataset


def _axes(build: Callable, over: Mapping[str, Any], seeds: int | Sequence[int]) -> dict[str, Any]:
    """The axes in the order of the result: arrays for those that run side by side, lists for static ones; the seed
    last."""
    names = [p for p in inspect.signature(build).parameters.values()][1:]
    wanted = {p.name for p in names if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    needed = {p.name for p in names if p.name in wanted and p.default is p.empty}
    loose = any(p.kind is p.VAR_KEYWORD for p in names)
    for name in over:
        if name not in wanted and not loose:
            near = difflib.get_close_matches(name, wanted, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"over: build takes no axis {name!r}, only {sorted(wanted)}{hint}")
    if needed - set(over):
        raise TypeError(f"over: build needs values for {sorted(needed - set(over))}; give each as an axis or a default")
    if SEED in over:
        raise ValueError("over: 'seed' is the name of the sweep's own axis; use seeds=")
    axes: dict[str, Any] = {}
    for name, values in over.items():
        plain = np.asarray(values)
        if plain.ndim == 0 or len(plain) == 0:
            raise ValueError(f"over: the axis {name!r} needs at least one value, in a list or an array, got {values!r}")
        # in NumPy, since taking values out of a JAX array compiles; of the dtype that JAX would make of them
        axes[name] = (
            plain.tolist() if plain.dtype.kind in "OUSb" else plain.astype(jax.dtypes.canonicalize_dtype(plain.dtype))
        )
    ids = np.arange(seeds) if isinstance(seeds, int | np.integer) else np.asarray(seeds)
    if (
        ids.ndim != 1
        or not len(ids)
        or ids.dtype.kind not in "iu"
        or ids.min() < 0
        or len(set(ids.tolist())) < len(ids)
    ):
        raise ValueError(f"seeds must be how many (at least 1) or a list of distinct numbers >= 0, got {seeds!r}")
    axes[SEED] = ids.astype(np.uint32)
    return axes


def _label(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)


def _stored_parts(store: str | Path | None) -> list[list[list[int]]] | None:
    """The block plan of a store that exists: memory may be another today, the plan may not."""
    if store is None or not (Path(store) / "config.json").is_file():
        return None
    from .store import read_json

    config = read_json(Path(store) / "config.json")
    if config.get("kind") != "sweep":
        return None
    return [part["blocks"] for part in config["grid"]["parts"]]


def _shower(bar: Progress, before: int) -> Callable[[Block], None]:
    return lambda block: bar.at(before + block.t, f"{int((block.codes() == codes.RUNNING).sum())} lanes")


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
