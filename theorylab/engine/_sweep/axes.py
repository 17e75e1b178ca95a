"""The axes of a sweep as they are given: what each keyword of `build` receives, over which dimensions, and labels."""

import difflib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .lanes import Axis

SEED = "seed"
TAKEN = {SEED: "the sweep's own, for which use seeds=", "step": "that of what is recorded; choose another"}


class Cases(eqx.Module):
    """Hold problems, starts or tasks as one axis of a sweep: arrays stacked along their leading axis.

    At the i-th place of the axis, `build` receives the i-th case: the pytree without that leading axis. The values are
    arguments of the compiled program, as those of every axis.

    **Arguments**

    - `values`: a pytree of arrays (cases, ...); what in it is no array belongs to every case.
    - `labels`: a number or a word for each case, the coordinate of the result; 0, 1, ... when None.
    - `dim`: the name of the dimension, that of the axis when None. Axes of one dimension go together.

    **Raises** `ValueError` for no array, arrays of unequal leading length or none, and labels of another length.

    **Source**: derived here; tested against a loop of `solve`.

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> class Bowl(tl.engine.State):  # its array x says how steep the bowl is
        ...     def loss(self, x, key):
        ...         return jnp.sum(self.x * x**2)
        >>> def build(key, *, bowl, rate):
        ...     return tl.Gradient(optax.sgd, learning_rate=rate), bowl, jnp.ones(2)
        >>> bowls = tl.Cases(Bowl(jnp.asarray([[1.0, 2.0], [0.0, 1.0]])), labels=["narrow", "flat"])
        >>> ds = tl.sweep(build, over={"bowl": bowls, "rate": [0.25, 0.5]}, key=0, steps=1)
        >>> ds.value.sel(bowl="flat", rate=0.25, seed=0).values.tolist()
        [1.0, 0.5]
    """

    values: PyTree
    labels: Any = eqx.field(static=True, default=None, converter=lambda x: _as_tuple(x))
    dim: str | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        arrays = jax.tree_util.tree_leaves_with_path(eqx.filter(self.values, _is_array))
        if not arrays:
            raise ValueError(
                f"Cases: values is a {type(self.values).__name__} without an array: stack the cases, as in"
                " jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)"
            )
        found = {jax.tree_util.keystr(path) or "the array": np.shape(x)[:1] for path, x in arrays}
        counts = sorted(set(found.values()))
        if len(counts) > 1 or not counts[0] or not counts[0][0]:
            shown = ", ".join(f"{name} {f'has {n[0]}' if n else 'is a scalar'}" for name, n in list(found.items())[:6])
            raise ValueError(
                "Cases: every array of values needs one leading axis, of as many places as there are cases, at least"
                f" one: {shown}"
            )
        if self.labels is not None and np.shape(self.labels) != counts[0]:
            raise ValueError(f"Cases: labels must be a list of {counts[0][0]}, one for each case, got {self.labels!r}")

    def __len__(self) -> int:
        return len(jax.tree.leaves(eqx.filter(self.values, _is_array))[0])


def _as_tuple(labels: Any) -> Any:
    return tuple(np.asarray(labels).tolist()) if np.ndim(labels) == 1 else labels


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic)


@dataclass(frozen=True)
class Axes:
    """All axes of a sweep, by keyword of `build`.

    `labels` has the dimensions in the order of the result, `coordinates` what else the result has along them. The
    values of a static axis are an array of objects; `digests` stand for values that are no labels.
    """

    moving: dict[str, Axis]
    static: dict[str, Axis]
    labels: dict[str, np.ndarray | list]
    coordinates: dict[str, tuple[tuple[str, ...], np.ndarray | list]]
    seeds: np.ndarray
    digests: dict[str, str]

    @property
    def fixed(self) -> list[str]:
        """The dimensions whose places run one after the other."""
        static = {dim for axis in self.static.values() for dim in axis.dims}
        return [dim for dim in self.labels if dim in static]

    @property
    def words(self) -> dict[str, list]:
        """The labels of all dimensions as JSON has them, the seed's last."""
        words = {dim: x.tolist() if isinstance(x, np.ndarray) else x for dim, x in self.labels.items()}
        return words | {SEED: self.seeds.tolist()}

    def as_json(self) -> dict[str, Any]:
        """What the labels alone do not say of the result's coordinates."""
        numbers = {dim: x.dtype.name for dim, x in self.labels.items() if isinstance(x, np.ndarray)}
        arrays = {name: (dims, np.asarray(x)) for name, (dims, x) in self.coordinates.items()}
        further = {n: {"dims": list(d), "values": x.tolist(), "dtype": x.dtype.str} for n, (d, x) in arrays.items()}
        return {"coordinates": numbers} | ({"further": further} if further else {})

    def at(self, places: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Axis]]:
        """The values of the static axes at a place of each fixed dimension, and the other axes there."""
        static = {name: axis.at(places) for name, axis in self.static.items()}
        return static, {name: axis.fixed(places) for name, axis in self.moving.items()}


class _Given(NamedTuple):
    """One axis as it was read."""

    axis: Axis
    static: bool
    labels: dict[str, np.ndarray | list]
    coordinates: dict[str, tuple[tuple[str, ...], np.ndarray | list]]
    digest: bool = False


def axes_of(build: Callable, over: Mapping[str, Any], seeds: int | Sequence[int]) -> Axes:
    """The axes that were asked for, looked over.

    **Raises** `TypeError` where they are not the keywords of `build`, `ValueError` for what is wrong with one, or
    between two.
    """
    _check_names(build, over)
    given = {name: _read(name, values) for name, values in over.items()}
    labels: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    first: dict[str, str] = {}
    named: dict[str, str] = {}
    for name, one in given.items():
        for dim, size in one.axis.sizes.items():
            if dim in TAKEN:
                raise ValueError(f"over: the dimension {dim!r} of {name!r} has a name that is {TAKEN[dim]}")
            other = first.setdefault(dim, name)
            if size != (before := given[other].axis.sizes[dim]):
                raise ValueError(
                    f"over: {other!r} has {before} places along {dim!r} and {name!r} has {size}. Axes of one dimension"
                    " go together: give them the same length, or name another dimension (tl.Cases(..., dim=...),"
                    " DataArray.rename)."
                )
            labels.setdefault(dim, None)
            if dim in one.labels:
                other = named.setdefault(dim, name)
                if not _agree(given[other].labels[dim], one.labels[dim]):
                    raise ValueError(_disagree(dim, other, given[other].labels[dim], name, one.labels[dim]))
                labels[dim] = given[other].labels[dim]
        for coordinate, (dims, values) in one.coordinates.items():
            other = coordinates.setdefault(coordinate, (dims, values))
            if other[0] != dims or not _agree(other[1], values):
                raise ValueError(
                    f"over: the coordinate {coordinate!r} of {name!r} is not what another axis says it is: drop one"
                    " (DataArray.drop_vars), or rename it"
                )
    for name in sorted(labels.keys() & coordinates.keys()):
        raise ValueError(
            f"over: {name!r} is a dimension, and a coordinate along {list(coordinates[name][0])}; rename one of them"
        )
    sizes = {dim: size for one in given.values() for dim, size in one.axis.sizes.items()}
    fixed = {dim for one in given.values() if one.static for dim in one.axis.dims}
    for dim in labels:
        labels[dim] = np.arange(sizes[dim]) if labels[dim] is None else labels[dim]
        if dim in fixed and len({str(x) for x in labels[dim]}) < sizes[dim]:
            raise ValueError(
                f"over: the labels of {dim!r} must differ, got {np.asarray(labels[dim]).tolist()}: leave out"
                " what stands twice, or label it, in an xarray.DataArray with coords"
            )
    return Axes(
        {name: one.axis for name, one in given.items() if not one.static},
        {name: one.axis for name, one in given.items() if one.static},
        labels,
        coordinates,
        _seeds(seeds),
        {name: _digest(one.axis.values) for name, one in given.items() if one.digest},
    )


def _check_names(build: Callable, over: Mapping[str, Any]) -> None:
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


def _read(name: str, given: Any) -> _Given:
    import xarray

    if isinstance(given, Cases):
        dim = name if given.dim is None else given.dim
        arrays, rest = eqx.partition(given.values, _is_array)
        labels = {} if given.labels is None else {dim: _labels(given.labels)}
        axis = Axis((dim,), jax.tree.map(_on_host, arrays), rest if jax.tree.leaves(rest) else None)
        return _Given(axis, False, labels, {}, digest=True)
    if not isinstance(given, xarray.DataArray):
        plain = np.asarray(given)
        if plain.ndim == 0 or len(plain) == 0:
            raise ValueError(f"over: the axis {name!r} needs at least one value, in a list or an array, got {given!r}")
        static = plain.dtype.kind in "OUSb"
        values = _objects(plain.tolist()) if static else _on_host(plain)
        return _Given(Axis((name,), values), static, {name: [label(x) for x in values] if static else values}, {})
    if given.ndim == 0 or given.size == 0 or not all(isinstance(dim, str) for dim in given.dims):
        raise ValueError(
            f"over: the DataArray of {name!r} needs a dimension, a name for each, and at least one value along it, got"
            f" {dict(given.sizes)}"
        )
    dims = tuple(map(str, given.dims))
    static = given.dtype.kind in "OUSb"
    values = given.values.astype(object) if static else _on_host(given.values)
    known = {str(n): (tuple(map(str, x.dims)), _labels(x.values)) for n, x in given.coords.items()}
    if name not in known and (name not in dims or dims == (name,)):
        known[name] = dims, _labels(values)
    labels = {dim: known[dim][1] for dim in dims if dim in known}
    rest = {n: known[n] for n in known if n not in dims}
    return _Given(Axis(dims, values), static, labels, rest, digest=not static)


def _objects(items: Sequence[Any]) -> np.ndarray:
    out = np.empty(len(items), object)
    for i, x in enumerate(items):
        out[i] = x
    return out


def _on_host(x: Any) -> Any:
    """In NumPy, since taking values out of a JAX array compiles, and of the dtype that JAX would make of it; random
    keys stay as they are."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    x = np.asarray(x)
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)


def label(value: Any) -> Any:
    """A static value as the coordinate that stands for it."""
    return value if isinstance(value, str | bool | int | float) else str(value)


def _labels(values: Any) -> np.ndarray | list:
    """Labels that JSON can hold: numbers in an array, all else in lists of words."""
    plain = np.asarray(values)
    if plain.dtype.kind in "iuf":
        return plain
    nested = np.vectorize(label, otypes=[object])(plain.astype(object))
    return nested.tolist()


def _agree(one: Any, other: Any) -> bool:
    """Whether labels are the same; numbers up to the precision that JAX works in."""
    one, other = np.asarray(one), np.asarray(other)
    numbers = one.dtype.kind in "iuf" and other.dtype.kind in "iuf"
    if numbers:
        kind = jax.dtypes.canonicalize_dtype(np.result_type(one, other))
        one, other = one.astype(kind), other.astype(kind)
    return np.array_equal(one, other, equal_nan=numbers)


def _disagree(dim: str, one: str, labels: Any, other: str, others: Any) -> str:
    return (
        f"over: {one!r} and {other!r} label the dimension {dim!r} differently, {np.asarray(labels)[:6].tolist()}"
        f" and {np.asarray(others)[:6].tolist()}. Axes of one dimension go together: give both the same"
        " labels, drop those of one (DataArray.drop_vars), or name another dimension."
    )


def _digest(values: PyTree) -> str:
    content = hashlib.sha256()
    for x in jax.tree.leaves(values):
        data = np.asarray(jax.random.key_data(x)) if isinstance(x, jax.Array) else x
        content.update(f"{x.dtype} {x.shape} ".encode() + np.ascontiguousarray(data).tobytes())
    return content.hexdigest()


def _seeds(seeds: int | Sequence[int]) -> np.ndarray:
    ids = np.arange(seeds) if isinstance(seeds, int | np.integer) else np.asarray(seeds)
    if (
        ids.ndim != 1
        or not len(ids)
        or ids.dtype.kind not in "iu"
        or ids.min() < 0
        or len(set(ids.tolist())) < len(ids)
    ):
        raise ValueError(f"seeds must be how many (at least 1) or a list of distinct numbers >= 0, got {seeds!r}")
    return ids.astype(np.uint32)
