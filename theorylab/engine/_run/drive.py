"""The host's loop: chunks of steps, and between them whatever needs a host."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .block import Block

Compaction = Literal["auto", "steps", "never"]
CHECKPOINTS = (
    16  # places in a stored run where lanes may be dropped: by step count alone, so that a resumed run does the same
)
WORTH = 2.0  # compaction must save this many times what compiling costs


@dataclass
class Pace:
    """How many steps the next chunk takes, so that it lasts about `seconds`; or always `chunk`."""

    chunk: int | None = None
    seconds: float = 0.4
    next: int = 16

    def __post_init__(self):
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 step, got {self.chunk}; None lets the driver choose")

    def length(self) -> int:
        return self.next if self.chunk is None else self.chunk

    def saw(self, steps: int, seconds: float) -> None:
        """Learn from a chunk's duration; grow at most 16-fold at once, since first chunks are noisy."""
        self.next = int(max(1, min(steps * self.seconds / max(seconds, 1e-6), 16 * steps, 2**30)))


@dataclass
class Stats:
    """What a run cost, compiling and running apart, in seconds."""

    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    chunks: int = 0
    compactions: int = 0
    blocks: int = 0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict:
        return dict(vars(self))

    def add(self, cost: dict) -> None:
        """What another process spent on the same run."""
        for name, value in cost.items():
            setattr(self, name, getattr(self, name) + value)


def drive(
    block: Block,
    steps: int,
    stats: Stats,
    *,
    chunk: int | None = None,
    compact: Compaction = "never",
    after: Sequence[Callable[[Block], None]] = (),
) -> None:
    """Advance a block to `steps` or until its lanes have stopped, calling each of `after` at every chunk border."""
    pace = Pace(chunk)
    stride = max(1, -(-steps // CHECKPOINTS))
    stats.blocks += 1
    while block.t < steps and block.alive:
        t0, t1 = block.t, min(block.t + pace.length(), steps)
        if compact == "steps":
            t1 = min(t1, (t0 // stride + 1) * stride)
        block.program()
        start = time.perf_counter()
        block.advance(t1)
        seconds = time.perf_counter() - start
        pace.saw(t1 - t0, seconds)
        stats.chunks += 1
        stats.run_seconds += seconds
        if t1 < steps and (compact == "auto" or (compact == "steps" and t1 % stride == 0)):
            narrow = block.narrower()
            if narrow is not None:
                width = len(narrow[0]) * len(narrow[1]) / block.codes().size
                saving = (steps - t1) * seconds / (t1 - t0) * (1 - width)
                if compact == "steps" or saving > WORTH * block.program()[1].compile_seconds:
                    block.keep(*narrow)
                    stats.compactions += 1
        for call in after:
            call(block)
    stats.compile_seconds += block.compile_seconds
