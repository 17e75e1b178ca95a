"""`sweep`: one method at many settings and seeds, as few matrix products as the settings allow."""

import difflib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from . import status as codes
from .block import Block, tables
from .dataset import Grid, Part, assemble, columns, describe
from .drive import Compaction, Stats, drive
from .keys import as_key, build_key, seed_key, stream
from .lanes import Levels, build_lanes, dependence, first_lane, lane_shapes, product
from .lanes import split as split_arrays
from .loop import Task, checked, inner_dependence
from .mesh import split
from .method import Method
from .program import highest
from .progress import Progress
from .provenance import provenance
from .record import Record, as_records
from .until import as_stops

if TYPE_CHECKING:
    import xarray

SEED = "seed"


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
    coupling: Literal["seed", "independent"] = "seed",
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
    - `coupling`: lanes of one seed share its draws (`"seed"`, common random numbers), or draw their own
      (`"independent"`).
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
        ("coupling", coupling, ("seed", "independent")),
    ):
        if given not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
    key, records, stops = as_key(key), as_records(record), as_stops(until)
    times = [one.when.times(steps) for one in records]
    axes = _axes(build, over, seeds)
    moving = {n: v for n, v in axes.items() if isinstance(v, np.ndarray)}
    fixed = {n: v for n, v in axes.items() if n not in moving}
    draws = _Draws(key, moving.pop(SEED))

    plans = []
    for place in np.ndindex(*[len(v) for v in fixed.values()]):
        static = {n: v[i] for (n, v), i in zip(fixed.items(), place, strict=True)}
        plans.append(
            _Plan(
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
                    arrays = plan.run(block, part.width, records, stats, chunk, keep, hooks, resume=folder, start=start)
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


class _Draws:
    """The keys of the seeds, as data on the host: taking some out of an array of keys would compile each time."""

    def __init__(self, key: PRNGKeyArray, seeds: np.ndarray):
        self.seeds, self._impl = seeds, jax.random.key_impl(key)
        self.own, self.build, self.steps = (np.asarray(data) for data in _seed_data(key, seeds))

    def wrap(self, data: Any) -> Array:
        return jax.random.wrap_key_data(data, impl=self._impl)

    def lanes(self, data: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and step streams of (outer, inner) lanes of their own, from their seeds' keys and their index' parts."""
        own, steps = _lane_data(self.wrap(data), outer, inner)
        return np.asarray(own), np.asarray(steps)


@jax.jit
def _seed_data(key, seeds):
    own = jax.vmap(lambda s: seed_key(key, s))(seeds)
    return tuple(jax.random.key_data(keys) for keys in (own, jax.vmap(build_key)(own), _streams(own)))


@jax.jit
def _lane_data(keys, outer, inner):
    def draw(k, o):
        return jax.vmap(lambda i: jax.random.fold_in(stream(k, "lane"), o + i))(inner)

    own = jax.vmap(draw)(keys, outer)
    return jax.random.key_data(own), jax.random.key_data(jax.vmap(_streams)(own))


def _streams(keys):
    return jax.vmap(lambda k: stream(k, "step"))(keys)


class _Plan:
    """The lanes of one combination of static values: levels, shapes, and how a block of them is made and run."""

    def __init__(self, build, static, moving, draws: _Draws, rules, *, lanes, coupling, mesh, when):
        self.static, self.when, self.coupling, self.mesh, self.draws = static, when, coupling, mesh, draws

        def system(values: Mapping[str, Array]):
            values = dict(values)
            made = build(draws.wrap(values.pop(SEED)), **static, **values)
            if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], Method):
                raise TypeError(
                    f"build must return (method, problem) or (method, problem, x0), got {type(made).__name__}: {made!r}"
                )
            return (*made, *[None] * (3 - len(made)), *rules)

        self.system, axes = system, {**moving, SEED: draws.build}
        depends = dependence(system, axes)
        self.first = lambda: first_lane(system, axes)[0]
        self.single, rebuild = _looked_at(system, axes, draws.wrap(draws.own[0]))
        self.method, problem, *_ = rebuild(list(np.zeros(len(self.single))))
        begin = len(split_arrays(self.method)[0])
        end = begin + len(split_arrays(problem)[0])
        outer = {SEED}.union(*depends[begin:end])
        self.outer = [n for n in axes if n in outer]
        self.inner = [n for n in axes if n not in outer]
        self.depends = [(bool(d & outer), bool(d - outer)) for d in depends]
        self.outer_values = product({n: axes[n] for n in self.outer})
        self.inner_values = product({n: axes[n] for n in self.inner}) if self.inner else {}
        self.own_keys = coupling == "independent" and bool(self.inner)
        self.keys, self.streams = self._lane_keys(axes)
        self.key = draws.wrap(draws.own[0])
        self.shape = (len(self.keys), len(next(iter(self.inner_values.values()))) if self.inner else 1)

        one = Task(rebuild)
        mode = "none" if not self.inner else self.method.lanes if lanes == "auto" else lanes
        around = lanes == "map" or (lanes == "auto" and jax.default_backend() == "cpu")
        flags = [i for _, i in self.depends]
        wide = [
            jax.ShapeDtypeStruct((self.shape[1], *x.shape), x.dtype, weak_type=x.weak_type) if f else x
            for x, f in zip(self.single, flags, strict=True)
        ]
        key = jax.ShapeDtypeStruct(self.keys.shape[1:-1], self.key.dtype)
        if mode == "none":
            state = [False] * len(jax.tree.leaves(jax.eval_shape(one.first_state, self.single, self.key)))
        elif mode == "map":
            state = [True] * len(jax.tree.leaves(jax.eval_shape(one.first_state, self.single, self.key)))
        else:
            state = inner_dependence(one, wide, key, flags, self.own_keys)
        levels = Levels(tuple(self.depends), tuple(state), mode, "around" if around else "inside", self.own_keys)
        self.task = replace(one, levels=levels)

    def _lane_keys(self, axes: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The data of each outer lane's key and step stream, or of each lane's where lanes draw on their own."""
        own, steps = (
            product({n: data if n == SEED else axes[n] for n in self.outer})[SEED]
            for data in (self.draws.own, self.draws.steps)
        )
        if self.coupling == "seed":
            return own, steps
        names = [n for n in axes if n != SEED]
        strides = {n: int(np.prod([len(axes[m]) for m in names[i + 1 :]], dtype=int)) for i, n in enumerate(names)}

        def share(level: list[str]) -> np.ndarray:
            places = product({n: np.arange(len(axes[n])) for n in level}) if level else {"": np.zeros(1, int)}
            return sum((places[n] * strides.get(n, 0) for n in places), np.zeros(1, int)).astype(np.uint32)

        own, steps = self.draws.lanes(own, share(self.outer), share(self.inner))
        return (own, steps) if self.inner else (own[:, 0], steps[:, 0])

    # -- shapes --------------------------------------------------------------------------------------------------------

    def layout(self, records: Sequence[Record]) -> dict[str, Any]:
        """What the result will hold, from shapes alone."""
        times, steps = self.when
        task = replace(self.task, levels=Levels())
        carry = jax.eval_shape(task.begin, self.single, self.key, jnp.int32(0), tables(times, steps))
        lane = jax.tree.map(lambda x: np.zeros((1, 1, *x.shape), x.dtype), carry.lane._replace(stops=()))
        rows = jax.tree.map(lambda x: np.zeros((1, 1, *x.shape), x.dtype), carry.rows)
        return describe(columns((lane, rows), records, times), records, times)

    def fingerprint(self) -> dict[str, str]:
        from .store import fingerprint

        return fingerprint(replace(self.task, levels=Levels()), self.first(), self.key)

    def blocks(self, memory_limit: int | None) -> list[list[int]]:
        """The blocks that fit: outer ranges of equal width, inner ranges too where one outer lane is too much."""
        if memory_limit is not None and memory_limit <= 0:
            raise ValueError(f"memory_limit must be a positive number of bytes, got {memory_limit}")
        times, steps = self.when
        outer, inner = self.shape
        limit = _free_memory() if memory_limit is None else memory_limit
        if limit is None:
            return [[0, outer, 0, inner]]
        task = replace(self.task, levels=Levels())
        carry = jax.eval_shape(task.begin, self.single, self.key, jnp.int32(0), tables(times, steps))
        lane = 2 * sum(_bytes(x) for x in jax.tree.leaves(carry))  # donated: one copy moves, one is being written
        own = {flags: 0 for flags in ((False, False), (False, True), (True, False), (True, True))}
        for x, flags in zip(self.single, self.depends, strict=True):
            own[flags] += _bytes(x)
        devices = split(self.mesh, outer, inner).devices if jax.default_backend() != "cpu" else 1
        shared = own[False, False] + inner * own[False, True]
        per_outer = own[True, False] + inner * (own[True, True] + lane)
        width = max(1, min(outer, int(max(limit - shared, 0) // max(per_outer, 1)) * devices))
        depth = inner
        if width == 1 and per_outer + shared > limit:
            room = limit - own[False, False] - own[True, False]
            depth = max(1, min(inner, int(max(room, 0) // max(own[False, True] + own[True, True] + lane, 1))))
        return [
            [o, min(o + width, outer), i, min(i + depth, inner)]
            for o in range(0, outer, width)
            for i in range(0, inner, depth)
        ]

    # -- running -------------------------------------------------------------------------------------------------------

    def run(
        self,
        block: list[int],
        width: tuple[int, int],
        records,
        stats: Stats,
        chunk,
        compact,
        hooks,
        *,
        resume: Any,
        start: int,
    ) -> dict[str, np.ndarray]:
        """Make the lanes of a block (padded to the width that all blocks share), run them, and return their
        variables."""
        o0, o1, i0, i1 = block
        times, steps = self.when
        spread = split(self.mesh, *width)
        grain = {"outer": 1, "inner": 1} | {spread.level: spread.devices}
        outer = _padded(o0, o1, -(-width[0] // grain["outer"]) * grain["outer"])
        inner = _padded(i0, i1, -(-width[1] // grain["inner"]) * grain["inner"])
        leaves, rebuild = build_lanes(
            self.system,
            {n: v[outer] for n, v in self.outer_values.items()},
            {n: v[inner] for n, v in self.inner_values.items()},
            self.depends,
        )
        keys, streams = (
            self.draws.wrap(data[outer][:, inner] if self.own_keys else data[outer])
            for data in (self.keys, self.streams)
        )
        task = replace(self.task, rebuild=rebuild)
        running = Block.begin(task, leaves, keys, streams, tables(times, steps), spread, 0)
        if resume is not None:
            resume.resume(running, start)
        drive(running, steps, stats, chunk=chunk, compact=compact, after=hooks)
        found = columns(running.harvest(), records, times)
        return {name: x[: o1 - o0, : i1 - i0] for name, x in found.items()}


def _looked_at(system: Callable, axes: Mapping[str, np.ndarray], key: PRNGKeyArray) -> tuple[list[Any], Callable]:
    """One lane's shapes and the function that rebuilds it, after a look that its step keeps them."""
    escaped = jax.errors.UnexpectedTracerError
    try:
        found = lane_shapes(system, axes)
        checked(Task(found[1]), found[0], key)
    except escaped:
        # a function that `build` made holds an array that it made too: concrete, if no axis touches it, in a real run
        found = first_lane(system, axes)
        try:
            checked(Task(found[1]), found[0], key)
        except escaped as error:
            raise TypeError(
                "build: a function that it returns closes over a value of an axis. Pass that value as an array that the"
                " problem or the method holds (for instance data=...), so that each lane has its own."
            ) from error
        return [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in found[0]], found[1]
    return found


def _padded(start: int, stop: int, width: int) -> np.ndarray:
    """The places `start..stop`, the last repeated to `width`."""
    return np.minimum(np.arange(start, start + width), stop - 1)


def _bytes(x: Any) -> int:
    return int(np.prod(x.shape, dtype=int)) * x.dtype.itemsize


def _free_memory() -> int | None:
    """Four fifths of what is free on one device, or of the machine's on CPU; None where nobody says."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        found = device.memory_stats() or {}
        return int(0.8 * (found["bytes_limit"] - found.get("bytes_in_use", 0))) if "bytes_limit" in found else None
    try:
        return int(0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return None


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
