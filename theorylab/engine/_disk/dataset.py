"""Lanes as an `xarray.Dataset`: named dimensions, NaN where nothing ran, and where it all comes from."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._run.loop import Carry, Lane
from .._run.system import Timetable
from ..status import NAMES, RUNNING
from .files import StoreError, read_arrays, read_json
from .grid import Grid, Shard

if TYPE_CHECKING:
    import xarray

SCHEMA = 1  # of the files of a store
SHOWN = "shown."  # before the names of variables in a saved state


def schedule(timetable: Timetable) -> dict[str, list[int]]:
    """The dimensions that records span: `step`, `step_2`, ..., one for each set of times, and which record has
    which."""
    dims: dict[str, list[int]] = {}
    for record, t in zip(timetable.records, timetable.times, strict=True):
        if record.series and t.tolist() not in dims.values():
            dims["step" if not dims else f"step_{len(dims) + 1}"] = t.tolist()
    return dims


def columns(harvest: tuple[Lane, tuple], timetable: Timetable) -> dict[str, np.ndarray]:
    """The variables of some lanes, (outer, inner, ...): rows after a lane's end, or its present step, are NaN."""
    (lane, rows), (records, times, _) = harvest, timetable
    out = {"status": lane.code, "steps": lane.steps, **_leaves("value", lane.value)}
    for r, record in enumerate(records):
        # a row at the border of a chunk belongs to the next chunk
        late = times[r] > (lane.steps - (lane.code == RUNNING))[..., None]
        for name in record.series:
            for path, x in _leaves(name, rows[r][name]).items():
                x = _with_nan(x[:, :, : len(times[r])])
                out[path] = np.where(late.reshape((*late.shape, *[1] * (x.ndim - 3))), np.asarray(np.nan, x.dtype), x)
        for name, reduction in record.reductions.items():
            result = jax.vmap(jax.vmap(reduction.result))(lane.reductions[r][name])
            out |= _leaves(name, jax.tree.map(np.asarray, result))
    # bfloat16 and its like are no dtypes of NumPy's own: neither files nor datasets hold them
    return {name: x.astype(np.float32) if x.dtype.kind == "V" else x for name, x in out.items()}


def _leaves(name: str, tree: PyTree) -> dict[str, np.ndarray]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(filter(None, [name, jax.tree_util.keystr(p, simple=True, separator=".")])): x for p, x in found}


def _with_nan(x: np.ndarray) -> np.ndarray:
    return x if np.issubdtype(x.dtype, np.inexact) or x.dtype.name == "bfloat16" else x.astype(float)


def describe(shapes: Carry, timetable: Timetable) -> dict[str, Any]:
    """What a configuration says of the variables, from the shapes of one lane: dimensions beyond the lanes, shapes,
    dtypes."""
    lane = shapes.lane._replace(stops=())
    blank = jax.tree.map(lambda x: np.zeros((1, 1, *x.shape), x.dtype), (lane, shapes.rows))
    dims, variables = schedule(timetable), {}
    of = {n: t for record, t in zip(timetable.records, timetable.times, strict=True) for n in record.series}
    for name, x in columns(blank, timetable).items():
        root = name.split(".")[0]
        along = next((dim for dim, t in dims.items() if root in of and of[root].tolist() == t), None)
        rest = x.shape[3:] if along else x.shape[2:]
        variables[name] = {
            "dims": [*([along] if along else []), *[f"{name}_{i}" for i in range(len(rest))]],
            "shape": list(x.shape[2:]),
            "dtype": x.dtype.name,
        }
    return {"dims": dims, "variables": variables}


Found = Iterable[tuple[Shard, Mapping[str, np.ndarray]]]


def assemble(grid: Grid, layout: Mapping[str, Any], shards: Found, under_way: Found = ()) -> "xarray.Dataset":
    """The dataset of a grid from its blocks that are finished and those that run; other lanes have not run."""
    import xarray

    names = list(grid.axes)
    shape = [len(grid.axes[name]) for name in names]
    completed = np.zeros(shape, bool)
    whole = {
        name: np.full([*shape, *v["shape"]], np.nan if np.dtype(v["dtype"]).kind in "fc" else 0, v["dtype"])
        for name, v in layout["variables"].items()
    }
    blocks = [(True, *shard) for shard in shards] + [(False, *shard) for shard in under_way]
    for finished, (part, block, *_), arrays in blocks:
        order = [*part.outer, *part.inner]
        at = tuple(grid.axes[n].index(part.static[n]) if n in part.static else slice(None) for n in names)
        free = [n for n in names if n not in part.static]
        sizes = [len(grid.axes[n]) for n in order]
        levels = (grid.size(part.outer), grid.size(part.inner))
        back = [order.index(n) for n in free]
        lanes = np.zeros(levels, bool)
        lanes[block.slices] = True
        chosen = lanes.reshape(sizes).transpose(back)
        completed[at] |= chosen & finished
        for name, x in arrays.items():
            full = np.zeros((*levels, *x.shape[2:]), x.dtype)
            full[block.slices] = x
            rest = list(range(len(sizes), len(sizes) + x.ndim - 2))
            full = full.reshape((*sizes, *x.shape[2:])).transpose([*back, *rest])
            whole[name][at] = np.where(chosen.reshape((*chosen.shape, *[1] * len(rest))), full, whole[name][at])
    data = {name: ([*names, *layout["variables"][name]["dims"]], x) for name, x in whole.items()}
    data["completed"] = (names, completed)
    dtypes = layout.get("coordinates", {})  # JSON has one kind of number
    coords = {n: np.asarray(v, dtypes.get(n)) for n, v in grid.axes.items() if np.ndim(v) == 1}
    coords |= {n: (x["dims"], np.asarray(x["values"], x["dtype"])) for n, x in layout.get("further", {}).items()}
    dataset = xarray.Dataset(data, {**coords, **{dim: np.asarray(t) for dim, t in layout["dims"].items()}})
    dataset["status"].attrs = {"flag_values": np.arange(len(NAMES), dtype=np.int8), "flag_meanings": " ".join(NAMES)}
    dataset["steps"].attrs = {"long_name": "steps taken when the lane ended"}
    return dataset


def shard_file(path: Path, shard: Shard) -> Path:
    return path / "shards" / f"{shard.start:09d}-{shard.stop:09d}.npz"


def states(path: Path, start: int) -> list[Path]:
    """The saved states of the block that begins at lane `start`, the latest last."""
    found = (path / "state").glob(f"{start:09d}-*.npz")
    return sorted(found, key=lambda file: int(file.stem.split("-")[1]))


def _last_state(path: Path, shard: Shard, variables: Mapping) -> dict[str, np.ndarray] | None:
    """The variables in the latest state that can be read of a block that runs."""
    expected = {name: (*shard.block.shape, *v["shape"]) for name, v in variables.items()}
    for file in reversed(states(path, shard.start)):
        try:
            arrays = read_arrays(file)
        except StoreError as error:
            if file.exists():  # a run that goes on drops its older states
                warnings.warn(f"load: passed over {file.name} ({error})", stacklevel=3)
            continue
        shown = {name.removeprefix(SHOWN): x for name, x in arrays.items() if name.startswith(SHOWN)}
        if {name: x.shape for name, x in shown.items()} == expected:
            return shown
        warnings.warn(
            f"load: passed over {file}: another version of theorylab wrote it, in another layout (env.json names the"
            " version). Its lanes stand as not run; the same call again goes on from there.",
            stacklevel=3,
        )
    return None


def load(path: str | Path) -> "xarray.Dataset":
    """The results in a store, finished or not, also while the run goes on.

    **Arguments**: `path`, the folder that was given as `store=` to `sweep` or `solve`.

    **Returns** an `xarray.Dataset` as `sweep` returns it, and `attrs` with the configuration, the versions and the
    papers to cite, as JSON. `completed` says which lanes are finished; the others show what was last saved of them:
    `value` after `steps` steps, the rows up to there, the status `running` for those that had not stopped, and NaN and
    0 steps where nothing was saved.

    **Raises** `StoreError` when the folder is no store, or a finished block in it is damaged; a saved state that is
    damaged or of another layout is passed over with a warning.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, optax, tempfile, theorylab as tl
        >>> class Bowl:
        ...     def loss(self, x, key):
        ...         return jnp.sum(x**2)
        >>> def build(key, *, rate):
        ...     return tl.Gradient(optax.sgd, learning_rate=rate), Bowl(), jnp.ones(2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ds = tl.sweep(build, over={"rate": [0.1, 0.2]}, key=jax.random.key(0), steps=5, store=folder)
        ...     bool((tl.load(folder).value == ds.value).all())
        True
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise StoreError(
            f"load: {path} holds no config.json, so it is no theorylab store; give the folder named by store="
        )
    config = read_json(path / "config.json")
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        found = config.get("schema") if isinstance(config, dict) else None
        raise StoreError(
            f"load: {path} has the layout {found!r}, and this theorylab reads {SCHEMA}; use the version that"
            " env.json names"
        )

    try:
        grid, shards, under_way = Grid.from_json(config["grid"]), [], []
        for shard in grid.shards():
            file = shard_file(path, shard)
            if file.is_file():
                shards.append((shard, read_arrays(file)))
            elif (found := _last_state(path, shard, config["layout"]["variables"])) is not None:
                under_way.append((shard, found))
        dataset = assemble(grid, config["layout"], shards, under_way)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreError(
            f"load: {path / 'config.json'} is not as theorylab writes it ({type(error).__name__}: {error})"
        ) from error
    dataset.attrs = {
        "config": json.dumps(config),
        "versions": json.dumps(read_json(path / "env.json")),
        "cites": json.dumps(config.get("cites", [])),
        "finished": int((path / "done.json").is_file()),
    }
    return dataset
