"""`solve` and `minimise`: one run of one method on one problem."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, Int8, PyTree

from ..numerics.checked import takes
from . import status as codes
from ._disk.store import SolveStore
from ._run.arguments import check_method, check_optimiser, check_steps, is_transformation
from ._run.block import Block
from ._run.drive import Stats, drive
from ._run.loop import Carry, Loop, checked
from ._run.mesh import Split, as_mesh
from ._run.progress import Progress
from ._run.system import System, Timetable, split
from ._run.traces import kept
from .keys import as_key, stream
from .method import Method
from .modules import parted, placed, whole
from .program import highest
from .provenance import provenance
from .record import Record, as_records, every
from .status import Status, from_code
from .until import as_stops


class Trace(eqx.Module):
    """What a run recorded.

    `trace["error"]` or `trace.error` is a quantity, rows first; `trace.steps["error"]` its step counts, `trace.step`
    those of the first record. A reduction has no rows, and no step counts.

    **Arguments**: `values`, pytrees of arrays (rows, ...) by name; `steps`, int (rows,) by name.

    **Source**: derived here.

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> trace = tl.minimise(lambda x: x**2, jnp.asarray(1.0), optax.sgd(0.25), steps=2).trace
        >>> list(trace), trace.step.tolist(), trace.loss.tolist()
        (['loss'], [0, 1, 2], [1.0, 0.25, 0.0625])
    """

    values: dict[str, PyTree[Array]]
    steps: dict[str, Int[Array, " n"] | Int[np.ndarray, " n"]]

    def __getitem__(self, name: str) -> PyTree[Array]:
        if name not in self.values:
            raise KeyError(f"{name!r} was not recorded; this trace has {sorted(self.values)}")
        return self.values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("values", "steps"):
            raise AttributeError(name)
        if name == "step" and self.steps:
            return next(iter(self.steps.values()))
        if name not in self.values:
            raise AttributeError(f"{name!r} was not recorded; this trace has {sorted(self.values)}")
        return self.values[name]

    def __iter__(self):
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def keys(self):
        return self.values.keys()


class Solution(eqx.Module):
    """How a run ended.

    **Arguments**: `value`, the method's readout when it stopped; `code`, int8 (), which `status` puts in words;
    `steps`, (), taken in all; `trace`, the records; `state`, the method's, for a warm restart; `stats`, the cost in
    seconds; `provenance`, versions, device, key and settings.

    **Source**: derived here.

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> tl.minimise(lambda x: x**2, jnp.asarray(1.0), optax.sgd(0.5), steps=3)
        Solution(status=max_steps, steps=3, value=f...[])
    """

    value: PyTree
    code: Int8[Array, ""]
    steps: Int[Array, ""]
    trace: Trace
    state: PyTree  # of any arrays, random keys among them
    stats: dict[str, Any] = eqx.field(static=True)
    provenance: dict[str, Any] = eqx.field(static=True)

    @property
    def status(self) -> Status:
        return from_code(self.code)

    def __repr__(self) -> str:
        if isinstance(self.code, Tracer):
            return f"Solution({self.value})"
        name = codes.NAMES[int(self.code)]
        return f"Solution(status={name}, steps={int(self.steps)}, value={eqx.tree_pformat(self.value)})"


@highest
def solve(
    method: Method,
    problem: Any,
    x0: PyTree | None = None,
    *,
    key: Any,
    steps: int,
    record: Record | Sequence[Record] | None = None,
    until: Any = None,
    state: Any = None,
    store: str | Path | None = None,
    progress: bool = False,
    log: Callable[[int, dict[str, Any]], None] | None = None,
    mesh: Any = None,
    chunk: int | None = None,
    adjoint: Literal["scan"] | None = None,
    throw: bool = False,
) -> Solution:
    """Run a method on a problem for at most `steps` steps.

    The state follows $s_{t+1} = \\mathrm{step}(s_t, k_t)$ with $k_t =
    \\mathrm{fold\\_in}(\\mathrm{stream}(k,\\text{step}), t)$: the draws depend on the key and the step alone. Called
    with concrete arrays, the run goes in chunks of one compiled program, with the host in between; under `jit`,
    `vmap` or `grad` it is one fused loop (a `scan`, which can be differentiated in reverse; with `until` a
    `while_loop`, which cannot).

    **Arguments**

    - `method`: a `Method`; `problem`: what it works on; `x0`: the starting point, or None for the problem's own.
    - `key`: a key or a seed; `steps`: the most steps to take, at least 1.
    - `record`: a `Record` or several; `until`: a rule such as `below(fn, tol)`, rules joined by `|`, or a function of
      (problem, state) that says when to stop.
    - `state`: a state to start from (`solution.state`: a warm restart, counting from 0), or a whole `Solution`, to go
      on where it stopped with the draws that one long run would have seen.
    - `store`: a folder in which the run saves itself; the same call again resumes or reloads it.
    - `progress`: a bar on stderr; `log`: called as `log(step, {name: value})` for every row recorded.
    - `mesh`: the devices to use (one is used); `chunk`: steps a chunk, chosen by time when None; it changes no result.
    - `adjoint="scan"`: ask for the fused differentiable loop explicitly.
    - `throw`: raise `RuntimeError` when the run diverges, meets a NaN or cannot start, instead of reporting it.

    **Returns** a `Solution`.

    **Raises** `ValueError` for `steps < 1` and for arguments that do not go together, `TypeError` when `step` does
    not keep the structure and dtypes of its state (naming the leaf).

    **Source**: derived here; chunked, fused and resumed runs are tested to be equal.

    **Example**

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> class Bowl:
        ...     def loss(self, x, key):
        ...         return jnp.sum(x**2)
        >>> method = tl.Gradient(optax.sgd, learning_rate=0.25)
        >>> solution = tl.solve(method, Bowl(), jnp.ones(2), key=jax.random.key(0), steps=3)
        >>> solution.value.tolist(), int(solution.steps)
        ([0.125, 0.125], 3)
    """
    check_steps(steps)
    check_method(method, problem)
    key, records, stops = as_key(key), as_records(record), as_stops(until)
    t0 = 0
    if isinstance(state, Solution):
        problem, _ = placed(problem, state.value)
        t0, state = int(state.steps), state.state
    if state is not None and x0 is not None:
        raise ValueError("x0 and state both say where to start; give one")
    problem, x0 = placed(problem, x0)
    timetable = Timetable.of(records, t0 + steps, t0)
    system = System(method, problem, x0 if state is None else state, records, stops)
    arrays, rebuild = split(system)
    loop = Loop(rebuild, state is not None, kept=kept(tuple(system), state is not None))
    checked(loop, arrays, key)
    if adjoint not in (None, "scan"):
        raise ValueError(f"adjoint must be None or 'scan', got {adjoint!r}")
    if adjoint == "scan" or any(isinstance(x, Tracer) for x in [*arrays, key]):
        host = {"store": store, "log": log, "progress": progress or None, "throw": throw or None}
        for name, given in host.items():
            if given is not None:
                raise ValueError(
                    f"{name} needs the host, but this solve is traced (jit, vmap, grad or adjoint='scan'); drop it"
                )
        return _fused(loop, system, arrays, key, timetable, t0, bool(stops) and adjoint is None)

    stats = Stats()
    device = Split() if mesh is None else Split(as_mesh(list(as_mesh(mesh).devices.flat)[:1]))
    block = Block.begin(loop, arrays, key, stream(key, "step"), timetable.tables, device, t0)
    origin = provenance(method, key, steps=steps)
    saved = None
    if store is not None and jax.process_index() == 0:  # launched processes all do the same, and one writes
        saved = SolveStore(store, loop, arrays, key, timetable, t0, origin)
    with contextlib.ExitStack() as held:
        hooks: list[Callable[[Block], None]] = []
        if saved is not None:
            running = held.enter_context(saved)
            running.resume(block)
            hooks.append(running)
        bar = held.enter_context(Progress(progress, type(method).__name__, t0 + steps))
        hooks.insert(0, lambda b: bar.at(b.t))
        if log is not None:
            hooks.insert(1, _logger(log, timetable, block.t))
        drive(block, t0 + steps, stats, chunk=chunk, after=hooks)
        if saved is not None and not saved.finished:
            saved.finish(block)
    solution = _solution(problem, block.carry, timetable, stats.as_dict(), origin)
    if throw:
        _throw(solution)
    return solution


def minimise(
    fn: Callable,
    x0: PyTree,
    optimiser: Any,
    *,
    steps: int,
    key: Any = None,
    args: tuple = (),
    has_aux: bool = False,
    **keywords: Any,
) -> Solution:
    """Minimise a function of a pytree with an Optax optimiser.

    Takes `steps` steps $x \\leftarrow x + \\mathrm{update}(\\nabla f(x))$.

    **Arguments**

    - `fn`: `fn(x, *args)`, a scalar; with a `key` given, `fn(x, *args, key=...)` receives a fresh one each step; with
      `has_aux` it returns `(loss, aux)`, and `solution.state.aux` is the last `aux`.
    - `x0`: where to start, a pytree; of an Equinox module the floating arrays are optimised, and the rest is kept:
      `fn` receives the whole module, and `solution.value` is one (`problem.whole(state.x)`, in what is recorded).
      `args`: further arguments of `fn`.
    - `optimiser`: an Optax transformation such as `optax.adam(1e-2)`, or a `tl.Gradient`.
    - `keywords`: those of `solve`. Without `record`, the loss is recorded about a hundred times as
      `solution.trace.loss`.

    **Returns** a `Solution`; `solution.value` is the minimiser found, `solution.state.loss` the loss at the last
    gradient.

    **Source**: derived here.

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> solution = tl.minimise(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), optax.sgd(0.25), steps=40)
        >>> [round(float(x), 6) for x in solution.value]
        [3.0, 3.0]
    """
    from .gradient import Gradient, Objective

    check_steps(steps)
    if not callable(fn):
        raise TypeError(f"fn must be a function of x, got a {type(fn).__name__}: minimise(fn, x0, optimiser)")
    if is_transformation(x0):
        raise TypeError("x0 is an Optax transformation: the order is minimise(fn, x0, optimiser)")
    check_optimiser("optimiser", optimiser, "optax.adam(1e-3)")
    method = optimiser if isinstance(optimiser, Method) else Gradient(optimiser)
    words = ["key"] if key is not None else []
    takes(
        "fn", fn, "x", *[f"args[{i}]" for i in range(len(args))], keywords=words, cure="further arguments go into args="
    )
    before = keywords.get("state")
    moved, rest = parted(before.value if isinstance(before, Solution) else x0)
    x0 = moved if x0 is not None else None
    problem = Objective(fn, tuple(args), has_aux, key is not None, rest)
    if "record" not in keywords:
        keywords["record"] = Record(every(max(1, steps // 100)), loss=lambda problem, state: problem.watch(state))
    return solve(method, problem, x0, key=0 if key is None else key, steps=steps, **keywords)


def _fused(
    loop: Loop, system: System, arrays: list[Array], key: Any, timetable: Timetable, t0: int, may_stop: bool
) -> Solution:
    when, start = jax.tree.map(jnp.asarray, timetable.tables), jnp.asarray(t0, jnp.int32)
    carry = loop.begin(arrays, key, start, when)
    streams = stream(key, "step")
    if may_stop:
        carry = loop.advance(arrays, streams, start, tuple(jnp.int32(0) for _ in when.times), when.steps, when, carry)
    else:
        carry = loop.unrolled(arrays, streams, start, when, carry, timetable.steps - t0)
    origin = {"method": type(system.method).__name__, "cites": list(system.method.cites)}
    return _solution(system.problem, carry, timetable, {}, origin)


def _solution(problem: Any, carry: Carry, timetable: Timetable, stats: dict, origin: dict) -> Solution:
    records, times, _ = timetable
    lane, values, steps = carry.lane, {}, {}
    traced = isinstance(lane.steps, Tracer)
    for r, record in enumerate(records):
        reached = len(times[r]) if traced else int((times[r] <= int(lane.steps)).sum())
        for name in record.series:
            values[name] = jax.tree.map(lambda x, n=reached: x if len(x) == n else x[:n], carry.rows[r][name])
            steps[name] = times[r][:reached]
        for name, reduction in record.reductions.items():
            values[name] = reduction.result(lane.reductions[r][name])
    values = {name: values[name] for record in records for name in record.what}
    return Solution(whole(problem, lane.value), lane.code, lane.steps, Trace(values, steps), carry.state, stats, origin)


def _logger(log: Callable[[int, dict], None], timetable: Timetable, start: int) -> Callable[[Block], None]:
    records, times, _ = timetable
    seen = [int((t < start).sum()) for t in times]

    def call(block: Block) -> None:
        lane, due = block.carry.lane, []
        # a row at a chunk's border belongs to the next chunk
        end = block.t - 1 if int(lane.code) == codes.RUNNING else int(lane.steps)
        for r, record in enumerate(records):
            now = int((times[r] <= end).sum())
            rows = jax.tree.map(np.asarray, block.carry.rows[r])
            for i in range(seen[r], now):
                due.append((int(times[r][i]), {n: jax.tree.map(lambda x, i=i: x[i], rows[n]) for n in record.series}))
            seen[r] = now
        for t in sorted({t for t, _ in due}):
            log(t, {name: value for at, row in due if at == t for name, value in row.items()})

    return call


def _throw(solution: Solution) -> None:
    code = int(solution.code)
    if code in (codes.DIVERGED, codes.NONFINITE, codes.INVALID):
        raise RuntimeError(f"step {int(solution.steps)}: {Status[solution.status]}")
