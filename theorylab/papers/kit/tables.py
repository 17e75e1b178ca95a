"""Tables of theory: a function of numbers, over the axes of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def cases(drawn: Sequence[Any], labels: Any = None) -> Any:
    """Stack problems of equal shapes, for one axis of a sweep and of the table beside it.

    **Arguments**: `drawn`, pytrees with arrays of equal shapes; `labels`, a number or a word for each.

    **Returns** a `tl.Cases`.

        >>> import jax.numpy as jnp, theorylab.papers.kit as kit
        >>> kit.cases([jnp.zeros(2), jnp.ones(2)], ["a", "b"]).values.shape
        (2, 2)
    """
    import jax
    import jax.numpy as jnp

    import theorylab.engine as tl

    return tl.Cases(jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn), labels)


def tabulate(function: Callable[..., Any], **axes: Any) -> Any:
    """Call a function at every point of some axes, and keep what it returns under its names.

    **Arguments**: `function`, of one value of each axis by its name, to a mapping or a NamedTuple of numbers, arrays or
    pairs (dimensions, array), or to one number, which is called `value`; on the host; `axes`, sequences of numbers,
    words or objects, and as in `tl.sweep` a `tl.Cases` or an `xarray.DataArray` of any dimensions; axes that share a
    dimension go together.

    **Returns** an `xarray.Dataset` with a dimension for each axis, in their order, and `<name>_0`, ... for arrays whose
    dimensions have no names; an axis of numbers or words is its own coordinate.

        >>> import theorylab.papers.kit as kit
        >>> table = kit.tabulate(lambda rate, t: {"left": (1 - rate) ** t}, rate=[0.5, 0.9], t=[1, 2])
        >>> table.left.sel(rate=0.5).values.tolist()
        [0.5, 0.25]
    """
    import xarray

    arrays = {name: _axis(name, axis) for name, axis in axes.items()}
    sizes = {str(dim): size for array in arrays.values() for dim, size in array.sizes.items()}
    rows = []
    for place in np.ndindex(*sizes.values()):
        at = dict(zip(sizes, place, strict=True))
        found = function(**{name: one.values[tuple(at[str(d)] for d in one.dims)] for name, one in arrays.items()})
        found = found._asdict() if hasattr(found, "_asdict") else found
        rows.append(found if isinstance(found, Mapping) else {"value": found})
    variables = {}
    for name in rows[0]:
        dims, first = rows[0][name] if type(rows[0][name]) is tuple else (None, rows[0][name])
        values = np.stack([np.asarray(row[name] if dims is None else row[name][1]) for row in rows])
        unnamed = [f"{name}_{i}" for i in range(np.ndim(first))]
        more = unnamed if dims is None else [dims] if isinstance(dims, str) else dims
        variables[name] = ([*sizes, *more], values.reshape((*sizes.values(), *values.shape[1:])))
    return xarray.Dataset(variables, xarray.merge([one.coords for one in arrays.values()]).coords)


def predict(theory: Callable[[Any, Any], Any], build: Callable[..., Any], over: Mapping[str, Any]) -> Any:
    """Tabulate theory over the axes of a race.

    **Arguments**: `theory`, of (problem, method), such as `games.stationary_error`; `build` and `over`, as in `race`;
    what build makes must not depend on its key, for which it is given None.

    **Returns** an `xarray.Dataset`, as `tabulate` does, to be merged with the race's.

        >>> import theorylab as tl, theorylab.papers.kit as kit
        >>> game = tl.games.AffineGame([[[1.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> def build(key, *, step_size):
        ...     return tl.games.GradientDescentAscent(step_size), game
        >>> kit.predict(tl.games.stationary_error, build, {"step_size": [0.5]}).ms_contraction.values.tolist()
        [0.0625]
    """

    def at(**place: Any) -> Any:
        method, problem, *_ = build(None, **place)
        return theory(problem, method)

    return tabulate(at, **over)


def _axis(name: str, axis: Any) -> Any:
    """An axis as an array of its values, with its labels."""
    import jax
    import xarray

    import theorylab.engine as tl

    if isinstance(axis, xarray.DataArray):
        named = axis if name in {*axis.coords, *axis.dims} else axis.assign_coords({name: axis})
        return named.astype(object) if axis.dtype.kind in "Ub" else named  # Python's own words, as a sweep gives them
    labels, dim = None, name
    if isinstance(axis, tl.Cases):
        labels, dim, stacked = axis.labels, axis.dim or name, axis.values
        axis = [jax.tree.map(lambda leaf, i=i: leaf[i] if np.ndim(leaf) else leaf, stacked) for i in range(len(axis))]
    plain = np.asarray(axis) if labels is None and all(np.ndim(one) == 0 for one in axis) else np.zeros(0, object)
    if plain.dtype.kind in "biufU":
        return xarray.DataArray(plain.astype(object) if plain.dtype.kind in "Ub" else plain, {dim: plain}, (dim,))
    values = np.empty(len(axis), object)
    values[:] = list(axis)
    return xarray.DataArray(values, {} if labels is None else {dim: list(labels)}, (dim,))
