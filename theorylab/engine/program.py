"""Compiled programs: nothing is baked in, and a program is compiled once for all runs that share its text.

`jit` writes the arrays that a function closes over into the program's text: other values compile anew, and XLA may
fold them at length (40 s were seen for one product of captured matrices). Here a function is traced, every captured
array becomes an argument, and the compiled program is found again by the text of what was traced.
"""

import functools
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.extend.core as jex_core
import numpy as np
from jax import lax
from jax.core import Tracer, eval_jaxpr
from jaxtyping import PyTree

P = ParamSpec("P")
R = TypeVar("R")
_KEPT = 64  # programs; each keeps its jaxpr alive, so that an address in its text cannot come to mean another function
_programs: "OrderedDict[tuple, Program]" = OrderedDict()


def highest(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` with matrix products in full precision, unless the caller has set `jax.default_matmul_precision`."""

    @functools.wraps(fn)
    def run(*args: P.args, **keywords: P.kwargs) -> R:
        settings: Any = jax.config
        with jax.default_matmul_precision(settings.jax_default_matmul_precision or "highest"):
            return fn(*args, **keywords)

    return run


class Traced(NamedTuple):
    """A function as a jaxpr whose captured arrays are arguments."""

    jaxpr: Any
    captured: Sequence[jax.Array]
    tree: Any
    text: str

    def __call__(self, captured: Sequence[Any], leaves: Sequence[Any]) -> list[Any]:
        return eval_jaxpr(self.jaxpr, captured, *leaves)

    @property
    def fingerprint(self) -> str:
        """The same for the same program in another process: the text without memory addresses."""
        return hashlib.sha256(re.sub(r"0x[0-9a-f]+", "0x", self.text).encode()).hexdigest()


class Program(NamedTuple):
    """An executable with what its making cost."""

    call: Any
    jaxpr: Any
    compile_seconds: float

    @property
    def bytes(self) -> int:
        """Arguments, results and scratch on one device; 0 where the backend does not say."""
        memory = self.call.memory_analysis()
        if memory is None:
            return 0
        sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        return sizes - memory.alias_size_in_bytes


def trace(fn: Callable, *args: PyTree) -> Traced:
    """Trace `fn` at these arguments (arrays or shapes), with the arrays that it captures hoisted to arguments."""
    # a function of its own, since jax remembers the trace of one it has seen, with the globals of that day
    closed, shapes = jax.make_jaxpr(lambda *args: fn(*args), return_shape=True)(*args)
    if _captures(closed.jaxpr):
        closed = jax.make_jaxpr(lambda *leaves: _inline(closed.jaxpr, closed.consts, leaves))(
            *[jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type) for v in closed.jaxpr.invars]
        )
    return Traced(closed.jaxpr, closed.consts, jax.tree.structure(shapes), str(closed.jaxpr))


def compiled(
    traced: Traced,
    args: PyTree,
    donated: PyTree = (),
    wrap: Callable[[Callable], Callable] = lambda fn: fn,
    layout: Any = None,
) -> tuple[Callable[[PyTree, PyTree], PyTree], Program, bool]:
    """The executable of `traced` for `args` and `donated` (whose buffers it may reuse), and whether it had to be
    compiled.

    `wrap` maps the flat function over devices; `layout` stands for it in the search for an equal program.
    """
    flat, given = jax.tree.leaves(args), jax.tree.leaves(donated)
    signature = tuple(
        (x.shape, str(x.dtype), str(getattr(x, "sharding", None))) for x in [*traced.captured, *flat, *given]
    )
    name = (traced.text, signature, len(flat), len(traced.captured), layout)
    program, new = _programs.get(name), False
    if program is None:
        new, start = True, time.perf_counter()

        def run(captured, kept, reused):
            return wrap(lambda captured, leaves: traced(captured, leaves))(captured, [*kept, *reused])

        call = jax.jit(run, donate_argnums=2).lower(list(traced.captured), flat, given).compile()
        program = Program(call, traced.jaxpr, time.perf_counter() - start)
        _programs[name] = program
        if len(_programs) > _KEPT:
            _programs.popitem(last=False)
    _programs.move_to_end(name)

    def call(args: PyTree, donated: PyTree = ()) -> PyTree:
        leaves = program.call(list(traced.captured), jax.tree.leaves(args), jax.tree.leaves(donated))
        return jax.tree.unflatten(traced.tree, leaves)

    return call, program, new


def call(fn: Callable[..., R], *args: PyTree) -> R:
    """`fn(*args)` as one program, compiled where no equal one has been.

    What is not an argument may change from call to call, as the weights of a model that trains in place do: `fn` is
    traced at each, which takes a fraction of what its operations take one by one.
    """
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(args)):
        return fn(*args)
    traced = trace(fn, *args)
    if any(isinstance(x, Tracer) for x in traced.captured):
        return fn(*args)
    return compiled(traced, args)[0](args, ())


def _closed(params: dict) -> list[Any]:
    values = [v for p in params.values() for v in (p if isinstance(p, tuple | list) else (p,))]
    return [v for v in values if isinstance(v, jex_core.ClosedJaxpr | jex_core.Jaxpr)]


def _captures(jaxpr: Any) -> bool:
    """Whether an inner program holds arrays of its own: a jitted function that closes over some."""
    for eqn in jaxpr.eqns:
        for inner in _closed(eqn.params):
            if getattr(inner, "consts", ()) or _captures(getattr(inner, "jaxpr", inner)):
                return True
    return False


def _inline(jaxpr: Any, consts: Sequence, args: Sequence) -> list:
    """Evaluate a jaxpr with its inner jits unfolded, so that a second trace sees, and hoists, what they capture."""
    values: dict = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, args, strict=True))

    def read(v):
        return v.val if isinstance(v, jex_core.Literal) else values[v]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        rule = _UNFOLD.get(eqn.primitive.name) if any(map(_holds, _closed(eqn.params))) else None
        if rule is None:
            variables = [v for v in eqn.invars if not isinstance(v, jex_core.Literal)]
            alone = jaxpr.replace(constvars=variables, invars=[], outvars=eqn.outvars, eqns=[eqn])
            out = eval_jaxpr(alone, [values[v] for v in variables])
        else:
            out = rule(inputs, eqn)
        values.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _holds(inner: Any) -> bool:
    return bool(getattr(inner, "consts", ())) or _captures(getattr(inner, "jaxpr", inner))


def _body(closed: Any) -> Callable[..., list]:
    return lambda *args: _inline(closed.jaxpr, closed.consts, args)


def _while(inputs, eqn):
    params = eqn.params
    c, b = params["cond_nconsts"], params["body_nconsts"]
    cond_consts, body_consts, init = inputs[:c], inputs[c : c + b], inputs[c + b :]
    cond, body = _body(params["cond_jaxpr"]), _body(params["body_jaxpr"])
    return lax.while_loop(lambda x: cond(*cond_consts, *x)[0], lambda x: body(*body_consts, *x), init)


def _scan(inputs, eqn):
    inner = eqn.params["jaxpr"].jaxpr
    # from the shapes, since the names of the counts differ between versions: what is scanned has one axis more
    scanned = sum(np.ndim(x) != v.aval.ndim for x, v in zip(inputs, inner.invars, strict=True))
    n = sum(o.aval.ndim == v.aval.ndim for o, v in zip(eqn.outvars, inner.outvars, strict=True))
    c = len(inputs) - scanned - n
    consts, init, xs = inputs[:c], inputs[c : c + n], inputs[c + n :]
    body = _body(eqn.params["jaxpr"])

    def step(carry, x):
        out = body(*consts, *carry, *x)
        return out[:n], out[n:]

    keywords = {name: eqn.params[name] for name in ("reverse", "length", "unroll")}
    carry, ys = lax.scan(step, init, xs, **keywords)
    return [*carry, *ys]


def _cond(inputs, eqn):
    return lax.switch(inputs[0], [_body(branch) for branch in eqn.params["branches"]], *inputs[1:])


_UNFOLD = {
    "jit": lambda inputs, eqn: _body(eqn.params["jaxpr"])(*inputs),
    "pjit": lambda inputs, eqn: _body(eqn.params["jaxpr"])(*inputs),
    "custom_jvp_call": lambda inputs, eqn: _body(eqn.params["call_jaxpr"])(*inputs),
    "custom_vjp_call": lambda inputs, eqn: _body(eqn.params["call_jaxpr"])(*inputs),
    "while": _while,
    "scan": _scan,
    "cond": _cond,
}
