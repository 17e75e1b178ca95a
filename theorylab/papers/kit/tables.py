"""Tables of theory: a function of numbers, over axes."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def tabulate(function: Callable[..., Any], **axes: Any) -> Any:
    """Call a function at every point of some axes, and keep what it returns under its names.

    **Arguments**: `function`, of one value of each axis by its name, to a mapping or a NamedTuple of numbers, arrays or
    pairs (dimensions, array), or to one number, which is called `value`; on the host; `axes`, sequences of numbers,
    words or objects.

    **Returns** an `xarray.Dataset` with a dimension for each axis, in their order, and `<name>_0`, ... for arrays whose
    dimensions have no names; an axis of numbers or words is its own coordinate.

        >>> import theorylab.papers.kit as kit
        >>> table = kit.tabulate(lambda rate, t: {"left": (1 - rate) ** t}, rate=[0.5, 0.9], t=[1, 2])
        >>> table.left.sel(rate=0.5).values.tolist()
        [0.5, 0.25]
    """
    import xarray

    lists = {name: list(np.asarray(axis)) if np.ndim(axis) == 1 else list(axis) for name, axis in axes.items()}
    rows = []
    for point in itertools.product(*lists.values()):
        found = function(**dict(zip(lists, point, strict=True)))
        found = found._asdict() if hasattr(found, "_asdict") else found
        rows.append(found if isinstance(found, Mapping) else {"value": found})
    shape = tuple(len(one) for one in lists.values())
    variables = {}
    for name in rows[0]:
        dims, first = rows[0][name] if type(rows[0][name]) is tuple else (None, rows[0][name])
        values = np.stack([np.asarray(row[name] if dims is None else row[name][1]) for row in rows])
        unnamed = [f"{name}_{i}" for i in range(np.ndim(first))]
        more = unnamed if dims is None else [dims] if isinstance(dims, str) else dims
        variables[name] = ([*lists, *more], values.reshape(shape + values.shape[1:]))
    plain = {name: one for name, one in lists.items() if np.asarray(one).dtype.kind in "biufU" and np.ndim(one) == 1}
    return xarray.Dataset(variables, plain)
