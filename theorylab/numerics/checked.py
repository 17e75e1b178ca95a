"""Arguments that are what their annotations say: checked where a user calls, before anything is computed."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, SupportsFloat, TypeVar, Union, get_args, get_origin, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import AbstractArray, ArrayLike, PRNGKeyArray, Shaped, jaxtyped

F = TypeVar("F", bound=Callable)


@runtime_checkable
class Arrays(Protocol):
    """What NumPy takes for an array, such as a column of a table."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray: ...


Numbers = ArrayLike | Sequence | Arrays
"""A number, an array, or what becomes one: lists of numbers, columns of tables."""

Key = PRNGKeyArray | int | np.integer
"""A random key, or an integer seed, which a `checked` function receives as the key `jax.random.key(seed)`."""


def checked(function: F) -> F:
    """A function, or a class where it is built, that refuses arguments other than its annotations allow.

    Types, dtypes and shapes alone are looked at, so that traced arrays pass as concrete ones do. A number may stand as
    any real scalar, an array may be JAX's or NumPy's, a tuple may be a list; names of axes mean one length throughout.
    Where the annotation is `Key`, an integer seed becomes a key.

    **Arguments**: `function`, with annotations of Python's or jaxtyping's, or a class.

    **Returns** the same, to be called the same.

    **Raises** `TypeError`, from the call, that names the argument, what it must be and what it is.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> @tl.numerics.checked
        ... def double(count: int):
        ...     return 2 * count
        >>> double(0.5)
        Traceback (most recent call last):
        TypeError: double: count must be an integer, got 0.5
    """
    given: Any = function
    if isinstance(given, type):
        given.__init__ = _guard(given.__init__, given.__name__)  # pyright: ignore[reportAttributeAccessIssue]
        return function
    return _guard(given, given.__name__)


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


def _guard(function: Any, title: str) -> Any:
    signature = inspect.signature(function)
    hints = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    keys = [name for name, hint in hints.items() if _is_key_or_seed(get_args(hint))]

    @functools.wraps(function)
    def call(*args, **keywords):
        try:
            given = signature.bind(*args, **keywords)
        except TypeError:
            return function(*args, **keywords)  # Python's own error names what is missing or too much
        bound = given.arguments
        for name in keys:
            if name in bound or signature.parameters[name].default is not inspect.Parameter.empty:
                bound[name] = seeded(bound.get(name, signature.parameters[name].default))
        with jaxtyped("context"):
            for name, value in bound.items():
                parameter = signature.parameters[name]
                if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or value is parameter.default:
                    continue
                if not _admits(hints[name], value) or (name in keys and isinstance(value, bool)):
                    raise TypeError(f"{title}: {name} must be {_words(hints[name])}, got {_shown(value)}")
        return function(*given.args, **given.kwargs) if keys else function(*args, **keywords)

    return call


def _admits(hint: Any, value: Any) -> bool:
    """Whether a value is what an annotation says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_admits(one, value) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if inner[1:] == (...,):
            return all(_admits(inner[0], one) for one in value)
        return len(value) == len(inner) and all(map(_admits, inner, value))
    if origin is not None:
        hint = origin
    kind = _KINDS.get(hint)
    if kind is not None:
        return kind(value)
    if not isinstance(hint, type):
        return True
    if hasattr(hint, "leaftype"):  # a PyTree
        leaves = jax.tree.leaves(value)
        return bool(leaves) and all(_admits(hint.leaftype, leaf) for leaf in leaves)
    if issubclass(hint, AbstractArray):
        numeric = _is_real_array(value) or _is_key(value)
        return numeric and isinstance(value, hint.dtype[type(value), hint.dim_str])
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol that only a type checker reads
        return True


def _is_key_or_seed(inner):
    return all(one in inner for one in get_args(Key))


def _is_real_array(value):
    real = jnp.integer, jnp.floating, jnp.bool_
    return isinstance(value, jax.Array | np.ndarray) and any(jnp.issubdtype(value.dtype, kind) for kind in real)


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
    Any: lambda value: True,
    inspect.Parameter.empty: lambda value: True,
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
