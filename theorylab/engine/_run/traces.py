"""What was traced once is found again, where all that the trace could have read is the same.

A trace runs the user's Python, which may read anything. `kept` walks all that functions can reach: their code, their
defaults and closures, the globals that they name, and so on through functions, classes and objects. Arrays of JAX,
which never change, count by identity, everything that can change by its value at the moment, and what this walk does
not know ends it: the run is traced anew, as if nothing had been kept.
"""

import builtins
import dataclasses
import dis
import functools
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

T = TypeVar("T")
KEPT = 32  # codes
LARGE = 2**18  # bytes of NumPy arrays that are compared: above that, tracing costs no more
PARTS = 10_000  # of what stands for a code
HELD = 2**24  # bytes of all arrays that a kept trace may keep alive
LIBRARIES = frozenset(
    """jax jaxlib numpy equinox optax jaxtyping beartype theorylab flax math functools operator itertools collections
    typing types dataclasses abc enum builtins""".split()  # noqa: SIM905  a list of this length takes twenty lines
)
"""Packages whose modules are taken to stay as they are; the classes of methods and problems are looked at all the
same."""
_DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "getattr", "__import__", "open", "input", "id"})
_OUTSIDE = frozenset({"random", "load", "loadtxt", "genfromtxt", "fromfile", "memmap"})  # what NumPy brings in
_GENERATED = frozenset(
    """__dict__ __weakref__ __doc__ __module__ __annotations__ __annotate__ __annotate_func__ __annotations_cache__
    __abstractmethods__ _abc_impl __abstractvars__ __abstractclassvars__ __dataclass_params__ __dataclass_fields__
    __match_args__ __orig_bases__ __parameters__ __qualname__ __static_attributes__ __firstlineno__ __slots__
    """.split()  # noqa: SIM905  likewise
)
_PATCHED = ("theorylab", "equinox", "optax", "flax")  # whose methods somebody may replace
_ATOMS = (int, bool, str, bytes, type(None), type(...), range)
_FIXED = (np.ufunc, types.MethodDescriptorType, types.WrapperDescriptorType, types.MemberDescriptorType)
_JITTED = type(jax.jit(lambda: None))
_kept: "OrderedDict[_Parts, Kept]" = OrderedDict()


class Unknown(Exception):
    """Something that could change without being seen."""


class Kept:
    """What was made of one and the same code, by name and the shapes of arguments."""

    def __init__(self, mutable: bool):
        self._mutable, self._made = mutable, {}

    def get(self, name: Hashable, args: Any, make: Callable[[], T]) -> T:
        """What `make` gave for this name and arguments of these shapes, or what it gives now."""
        leaves, structure = jax.tree.flatten(args)
        key = (name, structure, *[(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in leaves])
        if key not in self._made:
            made: Any = make()
            if self._mutable and hasattr(made, "captured"):
                # what JAX makes of a NumPy array may share its memory
                made = made._replace(captured=[jnp.array(x, copy=True) for x in made.captured])
            self._made[key] = made
        return self._made[key]


def kept(system: Any, *code: Any) -> Kept:
    """What is kept for a pytree and all that its functions read, but for the values of its arrays, and for other code,
    with all its values: something new where anything differs, or could."""
    walk = _Walk()
    try:
        walk.visit(system, True)
        for one in code:
            walk.visit(one)
        key = _Parts((_context(), *walk.found))
    except Exception:  # whatever an object says when it is looked at: the run itself must not end of it
        return Kept(False)
    if key not in _kept:
        _kept[key] = Kept(walk.mutable)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def forget() -> None:
    """Make the next runs trace anew, after a library has been patched.

    What functions read is looked at before each run; JAX, NumPy, Equinox, Optax, Flax and theorylab themselves are
    taken for what they were when they were imported.

    **Returns** nothing.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.engine.forget()
    """
    _kept.clear()


@jax.jit
def _settings():
    """Traced once for each combination of JAX's settings that decide a trace; its shape counts them."""
    _seen.append(None)
    return jnp.zeros((len(_seen), 0), bool)


_seen: list[None] = []


def _context() -> tuple:
    settings: Any = jax.config
    return jax.eval_shape(_settings).shape[0], settings.jax_default_prng_impl


class _Parts:
    """A tuple whose hash is computed once."""

    def __init__(self, parts: tuple):
        self._parts, self._hash = parts, hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Parts) and self._hash == other._hash and self._parts == other._parts


class _Same:
    """An object by its identity; kept, so that its address means nothing else."""

    __slots__ = ("one",)

    def __init__(self, one: Any):
        self.one = one

    def __hash__(self) -> int:
        return id(self.one)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.one is other.one


class _Walk:
    """The parts of what stands for a code, in the order in which a walk meets them."""

    def __init__(self) -> None:
        self.found: list[Hashable] = []
        self.mutable = False
        self._held = 0
        self._modules: list[tuple[types.ModuleType, frozenset]] = []
        self._seen: dict[tuple[int, bool], int] = {}
        self._alive: list[Any] = []

    def visit(self, x: Any, data: bool = False) -> None:
        """`data`: whether x stands where arrays are arguments of what is traced."""
        kind = type(x)
        if len(self.found) > PARTS:
            raise Unknown
        if kind in _ATOMS:
            self.found.append((kind, x))
        elif isinstance(x, Tracer):
            raise Unknown
        elif data and isinstance(x, jax.Array | np.ndarray | np.generic | float | complex):
            self.found.append("an argument")
        elif kind in (float, complex):
            self.found.append((kind, repr(x)))
        elif isinstance(x, jax.Array):
            self._hold(x.nbytes)
            self.found.append(_Same(x))
        elif kind is np.ndarray or isinstance(x, np.generic):
            if x.dtype.hasobject or x.nbytes > LARGE:
                raise Unknown
            self._hold(x.nbytes)
            self.mutable = True
            self.found.append((kind, x.shape, x.dtype, x.tobytes()))
        elif (id(x), data) in self._seen:
            self.found.append(("seen", self._seen[id(x), data]))
        else:
            self._seen[id(x), data] = len(self._seen)
            self._alive.append(x)  # so that no other object takes its address
            self._enter(x, kind, data)

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > HELD:
            raise Unknown

    def _enter(self, x: Any, kind: type, data: bool) -> None:
        if kind is types.FunctionType:
            self._function(x)
        elif kind is types.MethodType:
            self._several("method", (x.__func__, x.__self__))
        elif isinstance(x, type):
            self._class(x)
        elif kind in (tuple, list):
            self._several(kind, x, data)
        elif kind in (dict, types.MappingProxyType):
            self._several(kind, x)
            self._several("values", x.values(), data and kind is dict)
        elif kind in (set, frozenset) and all(type(one) in _ATOMS for one in x):
            self.found.append((kind, frozenset(x)))
        elif isinstance(x, functools.partial):
            self._several(kind, (x.func,))
            self._several("arguments", (x.args, x.keywords), data and kind is jax.tree_util.Partial)
        elif kind in (staticmethod, classmethod):
            self._several(kind, (x.__func__,))
        elif kind is property:
            self._several(kind, (x.fget, x.fset, x.fdel))
        elif kind is functools.cached_property:
            self._several(kind, (x.func,))
        elif kind is _JITTED:
            self._several(_Same(x), (x.__wrapped__,))
        elif isinstance(x, _FIXED):
            self.found.append(_Same(x))
        elif isinstance(x, np.dtype | jax.tree_util.PyTreeDef):
            self.found.append(x)
        elif kind is types.BuiltinFunctionType:
            if not isinstance(x.__self__, types.ModuleType) or not _of_library(x.__self__.__name__):
                raise Unknown
            self.found.append(_Same(x))
        elif kind is types.ModuleType and not _of_library(x.__name__):
            raise Unknown
        elif kind is types.ModuleType or ("__qualname__" in getattr(x, "__dict__", ()) and _is_of_library(x)):
            self.found.append(_Same(x))
        else:
            self._object(x, kind, data)

    def _several(self, name: Hashable, values: Any, data: bool = False) -> None:
        values = list(values)
        self.found.append((name, len(values)))
        for value in values:
            self.visit(value, data)

    def _function(self, fn: types.FunctionType) -> None:
        if _is_of_library(fn) or (fn.__code__.co_filename == "<string>" and fn.__name__.startswith("__")):
            self.found.append(_Same(fn))  # as it was imported, or as dataclasses write them
            return
        self.found.append(fn.__code__)
        cells = [_content(cell) for cell in fn.__closure__ or ()]
        self._several("function", (fn.__defaults__, fn.__kwdefaults__, cells, fn.__dict__))
        if _of_library(fn.__globals__.get("__name__", "")):
            return
        names, attributes = _names(fn.__code__)
        for name in names:
            if name in fn.__globals__:
                self.found.append(name)
                value = fn.__globals__[name]
                if isinstance(value, types.ModuleType):
                    self._module(value, attributes)
                else:
                    self.visit(value)
            elif name in _DYNAMIC or not hasattr(builtins, name):
                raise Unknown

    def _module(self, module: types.ModuleType, attributes: frozenset) -> None:
        """A module of which these attributes may be read."""
        self.found.append(_Same(module))
        if _of_library(module.__name__):
            if module.__name__.startswith("numpy") and _OUTSIDE & {*attributes, *module.__name__.split(".")}:
                raise Unknown
            return
        if (module, attributes) in self._modules:
            return
        self._modules.append((module, attributes))
        for name in sorted(attributes & vars(module).keys()):
            value = vars(module)[name]
            self.found.append(name)
            if isinstance(value, types.ModuleType):
                self._module(value, attributes)
            else:
                self.visit(value)

    def _class(self, kind: type) -> None:
        """A class by itself, with what it and its parents hold: of a library's by identity, of others in full."""
        self.found.append(_Same(kind))
        for one in kind.__mro__:
            if _is_of_library(one):
                if one.__module__.startswith(_PATCHED):
                    self.found.extend(_Same(value) for value in vars(one).values())
            else:
                own = {name: value for name, value in vars(one).items() if name not in _GENERATED}
                self._several(_Same(one), own)
                self._several("its", own.values())

    def _object(self, x: Any, kind: type, data: bool) -> None:
        """An object by its class and its attributes."""
        self.visit(kind)
        if isinstance(x, tuple):  # a named one
            self._several("named", x, data)
            self._several("its", (getattr(x, "__dict__", None),))
            return
        slots = [name for one in kind.__mro__ for name in _slots(one)]
        if _holds_more(kind, len(slots)):
            raise Unknown
        values = {name: getattr(x, name) for name in slots if hasattr(x, name)} | getattr(x, "__dict__", {})
        if isinstance(x, eqx.Module):
            moving = {field.name for field in dataclasses.fields(x) if not field.metadata.get("static", False)}
        elif data and not jax.tree_util.treedef_is_leaf(jax.tree.structure(x)):
            leaves, structure = jax.tree.flatten(x)
            self.found.append(structure)
            self._several("leaves", leaves, True)
            return
        else:
            moving = set()
        self.found.append(tuple(values))
        for name, value in values.items():
            self.visit(value, data and name in moving)


def _slots(kind: type) -> Sequence[str]:
    found = vars(kind).get("__slots__", ())
    names = [found] if isinstance(found, str) else [name for name in found if name not in ("__dict__", "__weakref__")]
    if any(name.startswith("__") for name in names):  # Python gives them other names
        raise Unknown
    return names


def _holds_more(kind: type, slots: int) -> bool:
    """Whether instances hold more than their attributes, in fields of C: what `copyreg` asks before it pickles."""
    word, managed_weakref, managed_dict = tuple.__itemsize__, 1 << 3, 1 << 4
    size = object.__basicsize__ + word * slots
    size += word * bool(kind.__dictoffset__ and not kind.__flags__ & managed_dict)
    size += word * bool(kind.__weakrefoffset__ and not kind.__flags__ & managed_weakref)
    return bool(kind.__itemsize__) or kind.__basicsize__ > size


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _of_library(module: str) -> bool:
    return module.partition(".")[0] in LIBRARIES


def _is_of_library(fn: Any) -> bool:
    """Whether a function or class is what its module of a library holds under its name."""
    if not _of_library(fn.__module__ or ""):
        return False
    held = sys.modules.get(fn.__module__)
    for name in fn.__qualname__.split("."):
        held = getattr(held, name, None)
    return held is fn


@functools.lru_cache(4096)
def _names(code: types.CodeType) -> tuple[tuple[str, ...], frozenset]:
    """The globals that a code object and those within it name, and the attributes that they read.

    **Raises** `Unknown` for one that imports.
    """
    names, attributes = set(), set()
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name.startswith("IMPORT"):
            raise Unknown
        if "GLOBAL" in name or name.endswith("_NAME"):
            names.add(instruction.argval)
        elif "ATTR" in name or "METHOD" in name:
            attributes.add(instruction.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more, within = _names(inner)
            names.update(more)
            attributes.update(within)
    return tuple(sorted(names)), frozenset(attributes)
