"""What arguments may be: annotations against values, seeds as keys, numbers that are finite."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, Protocol, SupportsFloat, Union, get_args, get_origin, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import AbstractArray, ArrayLike, PRNGKeyArray, Shaped, jaxtyped


@runtime_checkable
class Arrays(Protocol):
    """What NumPy takes for an array, such as a column of a table."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray: ...


Numbers = ArrayLike | Sequence | Arrays
"""A number, an array, or what becomes one: lists of numbers, columns of tables."""

Key = PRNGKeyArray | int | np.integer
"""A random key, or an integer seed, which a `checked` function receives as the key `jax.random.key(seed)`."""


def finite(**arrays: Any) -> None:
    """An error where a named array is empty or holds a number that is not finite: LAPACK would not name it.

    **Arguments**: `arrays`, by name. Traced ones pass.

    **Raises** `ValueError`.

    **Source**: derived here.

        >>> from theorylab.numerics.checked import finite
        >>> finite(W=np.asarray([1.0, np.nan]))
        Traceback (most recent call last):
        ValueError: W[1] = nan is not finite: remove or repair that entry
    """
    for name, values in arrays.items():
        if np.size(values) == 0:
            raise ValueError(f"{name} has the shape {np.shape(values)}: it is empty")
        if not isinstance(values, Tracer) and not np.all(np.isfinite(values)):
            where = [int(k) for k in np.argwhere(~np.isfinite(values))[0]]
            value = np.asarray(values)[tuple(where)]
            raise ValueError(f"{name}{where or ''} = {value} is not finite: remove or repair that entry")


def takes(name: str, function: Any, *arguments: str, keywords: Sequence[str] = (), cure: str = "") -> None:
    """An error where a function that a user gave cannot be called as it will be.

    **Arguments**: `name` of the argument that it was given as; `function`; `arguments`, what it will be called with, by
    place, and `keywords`, by name; `cure`, what to do about it.

    **Raises** `TypeError`. A callable whose signature nobody knows passes.

    **Source**: derived here.

        >>> from theorylab.numerics.checked import takes
        >>> takes("record: e", lambda state: state.x, "problem", "state")
        Traceback (most recent call last):
        TypeError: record: e must be a function of (problem, state), and this one is of (state): too many positional ...
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        wanted = ", ".join([*arguments, *(f"{keyword}=" for keyword in keywords)])
        own = ", ".join(str(one.replace(annotation=one.empty)) for one in signature.parameters.values())
        told = f"{name} must be a function of ({wanted}), and this one is of ({own}): {error}"
        raise TypeError("; ".join(filter(None, [told, cure]))) from None


def seeded(key: Any) -> Any:
    """The key of an integer seed; what is no integer, as it is.

    **Arguments**: `key`, an integer from 0 to 2**32 - 1, or anything.

    **Returns** `jax.random.key(key)`, or what was given.

    **Raises** `ValueError` for another integer: where x64 is off, JAX would wrap it round without a word.

    **Source**: derived here.

        >>> from theorylab.numerics.checked import seeded
        >>> bool(seeded(3) == jax.random.key(3)), seeded("three")
        (True, 'three')
    """
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        return key
    if not 0 <= key < 2**32:
        raise ValueError(f"key = {key}: a seed is an integer from 0 to 2**32 - 1; give one, or a key")
    return jax.random.key(int(key))


class Arguments:
    """What a function's annotations ask of its arguments."""

    def __init__(self, function: Callable):
        self.function = function
        parameters = list(inspect.signature(function).parameters.values())
        several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        named = [one for one in parameters if one.kind not in several]
        places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.places = [one.name for one in named if one.kind in places]
        self.hints = {one.name: one.annotation for one in named}
        self.defaults = {one.name: one.default for one in named if one.default is not one.empty}
        self.keys = [one.name for one in named if _is_key_or_seed(get_args(one.annotation))]
        tests = {one.name: _test(one.annotation) for one in named}
        self.tests = {name: test for name, test in tests.items() if test is not _anything}
        self.context = jaxtyped("context") if any(map(_names_axes, self.hints.values())) else nullcontext()

    def taken(self, args: tuple, keywords: dict) -> tuple[tuple, dict]:
        """The arguments with seeds as keys. What is missing or too much is left to Python's own error."""
        given = dict(zip(self.places, args, strict=False)) | keywords
        for name in self.keys:
            if name in given or name in self.defaults:
                key = given.get(name, self.defaults.get(name))
                given[name] = seeded(key)
                if given[name] is key:
                    continue
                if name in self.places[: len(args)]:
                    at = self.places.index(name)
                    args = (*args[:at], given[name], *args[at + 1 :])
                else:
                    keywords = keywords | {name: given[name]}
        with self.context:
            for name, test in self.tests.items():
                if name not in given or (value := given[name]) is self.defaults.get(name, self):
                    continue
                if not test(value) or (name in self.keys and isinstance(value, bool)):
                    wanted = _words(self.hints[name])
                    raise TypeError(f"{self._title(args)}: {name} must be {wanted}, got {_shown(value)}")
        return args, keywords

    def _title(self, args):
        """A class has the name of what is built, which may inherit."""
        return type(args[0]).__name__ if self.function.__name__ == "__init__" else self.function.__name__


def _test(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is what an annotation says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        tests = [_test(one) for one in inner]
        return _anything if _anything in tests else lambda value: any(test(value) for test in tests)
    if origin is Literal:
        return lambda value: any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple:
        tests = [_anything if one is ... else _test(one) for one in inner]
        if inner[1:] == (...,):
            return lambda value: isinstance(value, tuple | list) and all(map(tests[0], value))
        return lambda value: (
            isinstance(value, tuple | list)
            and len(value) == len(tests)
            and all(test(one) for test, one in zip(tests, value, strict=True))
        )
    if origin is Sequence and not (test := _test(inner[0]))(1):
        return lambda value: isinstance(value, Sequence) and not isinstance(value, str) and all(map(test, value))
    if origin is not None:
        hint = origin
    if hint in _KINDS:
        return _KINDS[hint]
    if not isinstance(hint, type):
        return _anything
    if hasattr(hint, "leaftype"):  # a PyTree
        return functools.partial(_is_tree, _test(hint.leaftype))
    if issubclass(hint, AbstractArray):
        return functools.partial(_is_array_of, hint)
    try:
        isinstance(None, hint)
    except TypeError:  # a protocol that only a type checker reads
        return _anything
    return lambda value: isinstance(value, hint)


def _anything(value):
    return True


def _is_tree(leaf_test, value):
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(map(leaf_test, leaves))


def _is_array_of(hint, value):
    return (_is_real_array(value) or _is_key(value)) and isinstance(value, hint.dtype[type(value), hint.dim_str])


def _names_axes(hint):
    inner = [hint.leaftype] if hasattr(hint, "leaftype") else get_args(hint)
    return bool(getattr(hint, "dim_str", "")) or any(map(_names_axes, inner))


def _is_key_or_seed(inner):
    return all(one in inner for one in get_args(Key))


def _is_real_array(value):
    return isinstance(value, jax.Array | np.ndarray) and _is_real(value.dtype)


@functools.cache
def _is_real(dtype):
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_))


def _is_key(value):
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _is_table(value):
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(_is_real_array(leaf) or _is_real_scalar(leaf) for leaf in jax.tree.leaves(value))
    return _is_real_array(value) and np.ndim(value) > 0


def _is_real_scalar(value):
    if _is_real_array(value):
        return value.ndim == 0
    return isinstance(value, int | float | np.integer | np.floating | np.bool_)


_KINDS: dict[Any, Callable[[Any], bool]] = {
    Any: _anything,
    inspect.Parameter.empty: _anything,
    complex: lambda value: False,  # stands in ArrayLike alone
    bool: lambda value: isinstance(value, bool | np.bool_),
    int: lambda value: isinstance(value, int | np.integer),
    float: _is_real_scalar,
    SupportsFloat: _is_real_scalar,
    np.number: lambda value: isinstance(value, np.integer | np.floating),
    np.ndarray: _is_real_array,
    jax.Array: _is_real_array,
    Callable: callable,
    Sequence: _is_table,
    Arrays: lambda value: isinstance(value, Arrays) and np.asarray(value).dtype.kind in "biuf",
}
_WORDS = {
    type(None): "None",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    SupportsFloat: "a number",
    str: "a string",
    Callable: "a function",
    Sequence: "a list of numbers",
    jax.Array: "an array of numbers",
    np.ndarray: "an array of numbers",
}


def _words(hint: Any) -> str:
    """What an annotation says, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if _is_key_or_seed(inner):
        return "a random key, such as jax.random.key(0), or an integer seed"
    if origin in (Union, types.UnionType):
        numbers = {*get_args(ArrayLike), Arrays}
        rest = [one for one in inner if one not in numbers] if np.number in inner else list(inner)
        words = ["a number"] * (len(rest) < len(inner)) + ["an array of numbers"] * (jax.Array in inner)
        words += [_words(one) for one in rest]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple:
        return f"({', '.join('...' if one is ... else _words(one) for one in inner)})"
    if origin is Sequence and not _test(inner[0])(1):
        return f"a list, each of it {_words(inner[0])}"
    hint = origin or hint
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        if hint.dtype is Shaped and not hint.dim_str:
            return "a number"
        return f"an array {hint.dtype.__name__}[{hint.dim_str!r}]"  # pyright: ignore
    if hasattr(hint, "leaftype"):
        return "a pytree of numbers or arrays"
    return _WORDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"


def _shown(value: Any) -> str:
    if isinstance(value, jax.Array | np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping | tuple | list) or not isinstance(value, str | int | float | complex | None):
        return f"a {type(value).__name__}"
    return repr(value) if len(repr(value)) < 60 else f"a {type(value).__name__}"
