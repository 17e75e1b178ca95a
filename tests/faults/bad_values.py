"""What a careless or hurried user passes in the place of a good value."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TEXT = "seven"


def bad_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Bad values of every kind for the place of a good one: pairs (kind, value)."""
    if isinstance(value, bool | None):
        return
    if is_key(value):
        yield from {"text": TEXT, "number": 0.5, "batch": jax.random.split(jax.random.key(0), 2)}.items()
    elif isinstance(value, str):
        yield from {"text": TEXT, "number": 3}.items()
    elif isinstance(value, int | float | np.generic) or (_is_array(value) and value.ndim == 0):
        yield from _numbers(value)
    elif _is_array(value):
        yield from _arrays(value)
    elif _is_numbers(value):
        for kind, bad in _arrays(np.asarray(value)):
            yield kind, bad.tolist() if isinstance(bad, np.ndarray) else bad
    elif isinstance(value, tuple | list) and value and all(_is_array(one) for one in value):
        make = getattr(type(value), "_make", type(value))  # named tuples too
        yield from {"text": TEXT, "missing": None, "one": tuple(value[:1])}.items()
        for at in range(len(value)):
            for kind, bad in _arrays(value[at]):
                if kind in ("rank+", "short", "complex", "nan"):
                    yield f"{kind} in {at}", make((*value[:at], bad, *value[at + 1 :]))
    else:
        yield from {"text": TEXT, "number": 3.0, "missing": None}.items()


def _numbers(value):
    like: Callable[[Any], Any] = float
    if _is_array(value):
        dtype = value.dtype if jnp.issubdtype(value.dtype, jnp.inexact) else jnp.float32
        like = partial(jnp.asarray, dtype=dtype)
    whole = isinstance(value, int | np.integer)
    yield from {"text": TEXT, "missing": None, "complex": 1j + float(value), "object": object()}.items()
    yield from {"nan": like(np.nan), "inf": like(np.inf), "boolean": True, "zero": 0 if whole else like(0)}.items()
    yield "negative", -max(1, value) if whole else like(-abs(value) if value else -1)
    yield "vector", jnp.stack([jnp.asarray(value)] * 2)
    yield "empty", jnp.zeros((0,), jnp.asarray(value).dtype)
    yield from [("fraction", value + 0.5)] if whole else [("huge", like(1e30))]


def _arrays(array):
    yield from {"text": TEXT, "missing": None, "object": object(), "words": np.asarray(["a", "b"])}.items()
    yield "rank+", array[None]
    if array.ndim:
        yield "rank-", array[0]
    for axis in range(array.ndim):
        keep = (slice(None),) * axis
        yield f"short {axis}", array[(*keep, slice(1, None))]
        yield f"empty {axis}", array[(*keep, slice(0, 0))]
    yield "complex", array + 1j
    if not np.issubdtype(array.dtype, np.inexact):
        yield from {"fraction": array + 0.5, "negative": -1 - array, "boolean": array > 0}.items()
        return
    first = (0,) * array.ndim
    put = (lambda x: array.at[first].set(x)) if isinstance(array, jax.Array) else lambda x: _put(array, first, x)
    yield from {"nan": put(np.nan), "inf": put(np.inf), "negative": -1 - abs(array), "zero": 0 * array}.items()
    yield from {"huge": array * 1e30, "boolean": array > 0, "integer": array.astype(int)}.items()


def _put(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def _is_array(value):
    return isinstance(value, jax.Array | np.ndarray) and not is_key(value)


def is_key(value):
    return isinstance(value, jax.Array) and (
        jnp.issubdtype(value.dtype, jax.dtypes.prng_key) or (value.dtype == jnp.uint32 and value.shape == (2,))
    )


def _is_numbers(value):
    if not isinstance(value, tuple | list | range):
        return False
    try:
        return np.asarray(value).dtype.kind in "iuf" and len(value) > 0
    except ValueError:
        return False
