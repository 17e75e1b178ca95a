"""The lanes of a sweep: which there are, how they are cut into blocks, and how one block is run, wherever that is."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .axes import SEED, Axes
from .block import Block
from .dataset import Grid, Part, columns
from .drive import Compaction, Stats, drive
from .plan import Draws, Plan
from .record import as_records
from .store import Running
from .until import as_stops


class Asked(NamedTuple):
    """What a sweep was asked, but for where it runs: values that travel to another process."""

    build: Callable[..., tuple]
    axes: Axes
    key: tuple[str, np.ndarray]  # implementation and data
    steps: int
    record: Any
    until: Any
    lanes: Any
    chunk: int | None
    compact: Compaction
    coupling: Any


class Work:
    """A sweep that is ready to run: a plan for each combination of static values."""

    def __init__(self, asked: Asked, mesh: Any = None):
        self.asked = asked
        self.records, stops = as_records(asked.record), as_stops(asked.until)
        self.times = [one.when.times(asked.steps) for one in self.records]
        axes = asked.axes
        self.labels = {dim: x.tolist() if isinstance(x, np.ndarray) else x for dim, x in axes.labels.items()}
        self.labels[SEED] = axes.seeds.tolist()
        impl, data = asked.key
        draws = Draws(jax.random.wrap_key_data(jnp.asarray(data), impl=impl), axes.seeds)
        self.plans, self.fixed = [], []
        for place in np.ndindex(*[len(axes.labels[dim]) for dim in axes.fixed]):
            places = dict(zip(axes.fixed, place, strict=True))
            static, moving = axes.at(places)
            self.fixed.append({dim: self.labels[dim][i] for dim, i in places.items()})
            plan = Plan(
                asked.build,
                static,
                moving,
                draws,
                (self.records, stops),
                lanes=asked.lanes,
                coupling=asked.coupling,
                mesh=mesh,
                when=(self.times, asked.steps),
            )
            self.plans.append(plan)

    def layout(self) -> dict[str, Any]:
        """What the result will hold, which is the same for all static values.

        **Raises** `ValueError` where it is not.
        """
        layout = self.plans[0].layout(self.records)
        for plan in self.plans[1:]:
            if plan.layout(self.records) != layout:
                raise ValueError(
                    f"over: {plan.static} gives results of other shapes than {self.plans[0].static}; sweep them apart"
                )
        axes = self.asked.axes
        clash = {*axes.labels, *axes.coordinates} & {"completed", *layout["variables"], *layout["dims"]}
        if clash:
            raise ValueError(f"over: {sorted(clash)} are names of what the result holds beside its axes; choose others")
        numbers = {dim: x.dtype.name for dim, x in axes.labels.items() if isinstance(x, np.ndarray)}
        further = {
            name: {"dims": list(dims), "values": np.asarray(x).tolist(), "dtype": np.asarray(x).dtype.str}
            for name, (dims, x) in axes.coordinates.items()
        }
        return layout | {"coordinates": numbers} | ({"further": further} if further else {})

    def widths(self, memory_limit: int | None, fewest: int) -> np.ndarray:
        """For each plan how many outer and inner lanes a block has: blocks that fit, and at least `fewest` in all."""
        each = -(-fewest // len(self.plans))
        return np.asarray([plan.width(memory_limit, each) for plan in self.plans], np.int32)

    def grid(self, widths: np.ndarray) -> Grid:
        parts = [
            Part(fixed, plan.outer, plan.inner, plan.blocks(*map(int, width)))
            for fixed, plan, width in zip(self.fixed, self.plans, widths, strict=True)
        ]
        return Grid(self.labels, parts)

    def so_far(self, running: Block, lanes: list[int]) -> dict[str, np.ndarray]:
        """The variables of a block that runs."""
        return self._variables(running.so_far(), lanes)

    def _variables(self, harvest: tuple, lanes: list[int]) -> dict[str, np.ndarray]:
        o0, o1, i0, i1 = lanes
        return {n: x[: o1 - o0, : i1 - i0] for n, x in columns(harvest, self.records, self.times).items()}

    def run(
        self,
        number: int,
        block: list[int],
        width: tuple[int, int],
        stats: Stats,
        after: Sequence[Callable[[Block], None]] = (),
        saves: Running | None = None,
    ) -> dict[str, np.ndarray]:
        """The variables of a block of plan `number`, (outer, inner, ...).

        A block that does not fit into memory is halved, with a warning, and its halves are run one after the other;
        their states are not saved.
        """
        try:
            running = self.plans[number].begin(block, width)
            if saves is not None:
                saves.resume(running)
            hooks = [*after, *([] if saves is None else [saves])]
            drive(running, self.asked.steps, stats, chunk=self.asked.chunk, compact=self.asked.compact, after=hooks)
            return self._variables(running.harvest(), block)
        except jax.errors.JaxRuntimeError as error:
            halves = _halves(block)
            if "RESOURCE_EXHAUSTED" not in str(error) or len(halves) == 1:
                raise
            told = str(error).splitlines()[0]
        # beyond the except clause, whose error holds the arrays of the block
        running = None
        lanes = (block[1] - block[0]) * (block[3] - block[2])
        note = f"sweep: {lanes} lanes at once ran out of memory ({told}); going on with half of them at a time"
        warnings.warn(f"{note}, which changes last bits. Set memory_limit= to begin with fewer.", stacklevel=2)
        stats.notes.append(note)
        sizes = halves[0][1] - halves[0][0], halves[0][3] - halves[0][2]
        found = [self.run(number, half, sizes, stats, after) for half in halves]
        axis = 0 if halves[0][1] < block[1] else 1
        return {name: np.concatenate([one[name] for one in found], axis) for name in found[0]}


def _halves(block: list[int]) -> list[list[int]]:
    """The block cut in two, along the outer level if it can be; itself when it is a single lane."""
    o0, o1, i0, i1 = block
    if o1 - o0 > 1:
        middle = (o0 + o1 + 1) // 2
        return [[o0, middle, i0, i1], [middle, o1, i0, i1]]
    if i1 - i0 > 1:
        middle = (i0 + i1 + 1) // 2
        return [[o0, o1, i0, middle], [o0, o1, middle, i1]]
    return [block]
