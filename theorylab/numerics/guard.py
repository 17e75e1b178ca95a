"""Functions and classes that check their arguments where a user calls, before anything is computed.

Annotations are read, for which JAX is loaded, at a function's first call: no program calls all that a package has.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)
_MARK = "__arguments_are_checked__"


def checked(function: F) -> F:
    """Refuses arguments other than the annotations of a function, or of a class's methods and where it is built, allow.

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
    if not isinstance(given, type):
        return given if is_checked(given) else _guard(given)
    for name, member in list(vars(given).items()):
        if name == "__init__" or not name.startswith("_"):
            if isinstance(member, classmethod | staticmethod):
                setattr(given, name, type(member)(checked(member.__func__)))
            elif isinstance(member, types.FunctionType):
                setattr(given, name, checked(member))
    return function


def is_checked(function: Any) -> bool:
    """Whether a function is `checked` already.

    **Arguments**: `function`, anything.

    **Returns** a bool.

        >>> from theorylab.numerics.guard import checked, is_checked
        >>> def double(count: int):
        ...     return 2 * count
        >>> is_checked(double), is_checked(checked(double))
        (False, True)
    """
    return _MARK in getattr(function, "__dict__", ())


def _guard(function: Any) -> Any:
    hints = [hint for name, hint in getattr(function, "__annotations__", {}).items() if name != "return"]
    if all(hint is Any for hint in hints) or getattr(function, "__isabstractmethod__", False):
        return function
    looked: list[Any] = []

    @functools.wraps(function)
    def call(*args, **keywords):
        if not looked:
            from .checked import Arguments

            looked.append(Arguments(function))
        args, keywords = looked[0].taken(args, keywords)
        return function(*args, **keywords)

    call.__dict__[_MARK] = True
    return call
