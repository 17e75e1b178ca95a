"""A sweep that is ready to run: which lanes there are, how they are cut into blocks, and how one block is run, wherever
that is."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .._disk.dataset import columns
from .._disk.grid import Grid, Rectangle
from .._disk.store import Running
from .._run.block import Block
from .._run.drive import Stats, drive
from .group import Group
from .request import Request


class Plan:
    """The groups of lanes of a sweep: one for each combination of static values."""

    def __init__(self, request: Request, mesh: Any = None):
        self.request, axes, draws = request, request.axes, request.draws
        places = np.ndindex(*[len(axes.labels[dim]) for dim in axes.fixed])
        self.groups = [Group(request, draws, dict(zip(axes.fixed, place, strict=True)), mesh) for place in places]

    def layout(self) -> dict[str, Any]:
        """What the result will hold, which is the same for all static values.

        **Raises** `ValueError` where it is not, and where an axis has the name of a variable.
        """
        axes, layout = self.request.axes, self.groups[0].layout()
        for group in self.groups[1:]:
            if group.layout() != layout:
                raise ValueError(
                    f"over: {group.part.static} gives results of other shapes than {self.groups[0].part.static}; sweep"
                    " them apart"
                )
        clash = {*axes.labels, *axes.coordinates} & {"completed", *layout["variables"], *layout["dims"]}
        if clash:
            raise ValueError(f"over: {sorted(clash)} are names of what the result holds beside its axes; choose others")
        return layout | axes.as_json()

    def widths(self, memory_limit: int | None, fewest: int) -> np.ndarray:
        """For each group how many outer and inner lanes a block has: blocks that fit, and at least `fewest` in all."""
        each = -(-fewest // len(self.groups))
        return np.asarray([group.width(memory_limit, each) for group in self.groups], np.int32)

    def grid(self, widths: np.ndarray) -> Grid:
        parts = [group.cut((int(outer), int(inner))) for group, (outer, inner) in zip(self.groups, widths, strict=True)]
        return Grid(self.request.axes.words, parts)

    def so_far(self, running: Block, block: Rectangle) -> dict[str, np.ndarray]:
        """The variables of a block that runs."""
        return self._variables(running.so_far(), block)

    def _variables(self, harvest: tuple, block: Rectangle) -> dict[str, np.ndarray]:
        outer, inner = block.shape
        return {name: x[:outer, :inner] for name, x in columns(harvest, self.request.timetable).items()}

    def run(
        self,
        number: int,
        block: Rectangle,
        width: tuple[int, int],
        stats: Stats,
        after: Sequence[Callable[[Block], None]] = (),
        saves: Running | None = None,
    ) -> dict[str, np.ndarray]:
        """The variables of a block of group `number`, (outer, inner, ...).

        A block that does not fit into memory is halved, with a warning, and its halves are run one after the other;
        their states are not saved.
        """
        try:
            running = self.groups[number].begin(block, width)
            if saves is not None:
                saves.resume(running)
            hooks = [*after, *([] if saves is None else [saves])]
            asked = self.request
            drive(running, asked.timetable.steps, stats, chunk=asked.chunk, compact=asked.compact, after=hooks)
            return self._variables(running.harvest(), block)
        except jax.errors.JaxRuntimeError as error:
            halves = block.halves()
            if "RESOURCE_EXHAUSTED" not in str(error) or len(halves) == 1:
                raise
            told = str(error).splitlines()[0]
        # beyond the except clause, whose error holds the arrays of the block
        running = None
        note = f"sweep: {block.lanes} lanes at once ran out of memory ({told}); going on with half of them at a time"
        warnings.warn(f"{note}, which changes last bits. Set memory_limit= to begin with fewer.", stacklevel=2)
        stats.notes.append(note)
        found = [self.run(number, half, halves[0].shape, stats, after) for half in halves]
        axis = 0 if halves[0].outer_stop < block.outer_stop else 1
        return {name: np.concatenate([one[name] for one in found], axis) for name in found[0]}
