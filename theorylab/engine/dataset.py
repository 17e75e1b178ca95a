"""Lanes as an `xarray.Dataset`: named dimensions, NaN where nothing ran, and where it all comes from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PyTree

from .files import StoreError, read_arrays, read_json
from .loop import Lane
from .record import Record
from .status import NAMES

if TYPE_CHECKING:
    import xarray

SCHEMA = 1  # of the files of a store


@dataclass(frozen=True)
class Part:
    """Lanes that run as one program: the values of the static axes, the two levels, and the blocks (outer from, to,
    inner from, to)."""

    static: dict[str, Any]
    outer: list[str]
    inner: list[str]
    blocks: list[list[int]]

    @property
    def width(self) -> tuple[int, int]:
        """What every block is padded to, so that one program serves all."""
        o0, o1, i0, i1 = self.blocks[0]
        return o1 - o0, i1 - i0


@dataclass(frozen=True)
class Grid:
    """The axes of a sweep, in the order of the result, and how its lanes are cut. A solve has none."""

    axes: dict[str, list]
    parts: list[Part]

    def size(self, names: Iterable[str]) -> int:
        return int(np.prod([len(self.axes[name]) for name in names], dtype=int))

    def places(self) -> list[tuple[Part, list[int], int, int]]:
        """All blocks in order, each with its range in the count of lanes."""
        out, start = [], 0
        for part in self.parts:
            for block in part.blocks:
                stop = start + (block[1] - block[0]) * (block[3] - block[2])
                out.append((part, block, start, stop))
                start = stop
        return out

    def as_json(self) -> dict[str, Any]:
        return {"axes": self.axes, "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Grid":
        return cls(content["axes"], [Part(**part) for part in content["parts"]])


def schedule(records: Sequence[Record], times: Sequence[np.ndarray]) -> dict[str, list]:
    """The dimensions that records span: `step`, `step_2`, ..., one for each set of times, and which record has
    which."""
    dims: dict[str, list[int]] = {}
    for record, t in zip(records, times, strict=True):
        if record.series and t.tolist() not in dims.values():
            dims["step" if not dims else f"step_{len(dims) + 1}"] = t.tolist()
    return dims


def columns(
    harvest: tuple[Lane, tuple], records: Sequence[Record], times: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The variables of some lanes, (outer, inner, ...): rows after a lane's end are NaN."""
    lane, rows = harvest
    out = {"status": lane.code, "steps": lane.steps, **_leaves("value", lane.value)}
    for r, record in enumerate(records):
        late = times[r] > lane.steps[..., None]
        for name in record.series:
            for path, x in _leaves(name, rows[r][name]).items():
                x = _with_nan(x[:, :, : len(times[r])])
                out[path] = np.where(late.reshape((*late.shape, *[1] * (x.ndim - 3))), np.asarray(np.nan, x.dtype), x)
        for name, reduction in record.reductions.items():
            result = jax.vmap(jax.vmap(reduction.result))(lane.reductions[r][name])
            out |= _leaves(name, jax.tree.map(np.asarray, result))
    return out


def _leaves(name: str, tree: PyTree) -> dict[str, np.ndarray]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(filter(None, [name, jax.tree_util.keystr(p, simple=True, separator=".")])): x for p, x in found}


def _with_nan(x: np.ndarray) -> np.ndarray:
    return x if np.issubdtype(x.dtype, np.inexact) or x.dtype.name == "bfloat16" else x.astype(float)


def describe(found: Mapping[str, np.ndarray], records: Sequence[Record], times: Sequence[np.ndarray]) -> dict[str, Any]:
    """What a configuration says of the variables: dimensions beyond the lanes, shapes, dtypes."""
    dims, variables = schedule(records, times), {}
    of = {name: t for record, t in zip(records, times, strict=True) for name in record.series}
    for name, x in found.items():
        root = name.split(".")[0]
        along = next((dim for dim, t in dims.items() if root in of and of[root].tolist() == t), None)
        rest = x.shape[3:] if along else x.shape[2:]
        variables[name] = {
            "dims": [*([along] if along else []), *[f"{name}_{i}" for i in range(len(rest))]],
            "shape": list(x.shape[2:]),
            "dtype": x.dtype.name,
        }
    return {"dims": dims, "variables": variables}


def assemble(
    grid: Grid, layout: Mapping[str, Any], shards: Iterable[tuple[Part, list[int], Mapping[str, np.ndarray] | None]]
) -> "xarray.Dataset":
    """The dataset of a grid from its blocks; lanes whose block is None have not run."""
    import xarray

    names = list(grid.axes)
    shape = [len(grid.axes[name]) for name in names]
    completed = np.zeros(shape, bool)
    whole = {
        name: np.full(
            [*shape, *v["shape"]], np.nan if np.dtype(_numpy(v["dtype"])).kind in "fc" else 0, _numpy(v["dtype"])
        )
        for name, v in layout["variables"].items()
    }
    for part, (o0, o1, i0, i1), arrays in shards:
        if arrays is None:
            continue
        order = [*part.outer, *part.inner]
        at = tuple(grid.axes[n].index(part.static[n]) if n in part.static else slice(None) for n in names)
        free = [n for n in names if n not in part.static]
        sizes = [len(grid.axes[n]) for n in order]
        levels = (grid.size(part.outer), grid.size(part.inner))
        back = [order.index(n) for n in free]
        lanes = np.zeros(levels, bool)
        lanes[o0:o1, i0:i1] = True
        chosen = lanes.reshape(sizes).transpose(back)
        completed[at] |= chosen
        for name, x in arrays.items():
            full = np.zeros((*levels, *x.shape[2:]), x.dtype)
            full[o0:o1, i0:i1] = x
            rest = list(range(len(sizes), len(sizes) + x.ndim - 2))
            full = full.reshape((*sizes, *x.shape[2:])).transpose([*back, *rest])
            whole[name][at] = np.where(chosen.reshape((*chosen.shape, *[1] * len(rest))), full, whole[name][at])
    data = {name: ([*names, *layout["variables"][name]["dims"]], x) for name, x in whole.items()}
    data["completed"] = (names, completed)
    dtypes = layout.get("coordinates", {})  # JSON has one kind of number
    coords = {n: np.asarray(v, dtypes.get(n)) for n, v in grid.axes.items() if np.ndim(v) == 1}
    dataset = xarray.Dataset(data, {**coords, **{dim: np.asarray(t) for dim, t in layout["dims"].items()}})
    dataset["status"].attrs = {"flag_values": np.arange(len(NAMES), dtype=np.int8), "flag_meanings": " ".join(NAMES)}
    dataset["steps"].attrs = {"long_name": "steps taken when the lane ended"}
    return dataset


def _numpy(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def load(path: str | Path) -> "xarray.Dataset":
    """The results in a store, finished or not.

    **Arguments**: `path`, the folder that was given as `store=` to `sweep` or `solve`.

    **Returns** an `xarray.Dataset` as `sweep` returns it: NaN where nothing has run, `completed` says which lanes have,
    and `attrs` hold the configuration, the versions and the papers to cite, as JSON.

    **Raises** `StoreError` when the folder is no store, or a file in it is damaged.

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

    def shards(grid):
        for part, block, start, stop in grid.places():
            file = path / "shards" / f"{start:09d}-{stop:09d}.npz"
            yield part, block, read_arrays(file) if file.is_file() else None

    try:
        grid = Grid.from_json(config["grid"])
        dataset = assemble(grid, config["layout"], shards(grid))
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
