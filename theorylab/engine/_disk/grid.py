"""Which lanes there are and how they are cut into blocks: what a plan decides, a store keeps, a dataset is made of."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Rectangle(NamedTuple):
    """Lanes that run as one block: a range of outer ones, and a range of inner ones for each of them."""

    outer_start: int
    outer_stop: int
    inner_start: int
    inner_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.outer_stop - self.outer_start, self.inner_stop - self.inner_start

    @property
    def lanes(self) -> int:
        outer, inner = self.shape
        return outer * inner

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.outer_start, self.outer_stop), slice(self.inner_start, self.inner_stop)

    def tiles(self, width: tuple[int, int]) -> "list[Rectangle]":
        """It in rectangles of at most this many outer and inner lanes."""
        (o0, o1, i0, i1), (outer, inner) = self, width
        return [
            Rectangle(o, min(o + outer, o1), i, min(i + inner, i1))
            for o in range(o0, o1, outer)
            for i in range(i0, i1, inner)
        ]

    def halves(self) -> "list[Rectangle]":
        """It cut in two, along the outer level if it can be; itself when it is a single lane."""
        outer, inner = self.shape
        return self.tiles((-(-outer // 2), inner) if outer > 1 else (1, -(-inner // 2)))


@dataclass(frozen=True)
class Part:
    """Lanes of one program: the labels of the dimensions that stand still, the dimensions of the two levels, and the
    blocks."""

    static: dict[str, Any]
    outer: list[str]
    inner: list[str]
    blocks: list[Rectangle] = field(default_factory=list)

    @property
    def width(self) -> tuple[int, int]:
        """What every block is padded to, so that one program serves all."""
        return self.blocks[0].shape


class Shard(NamedTuple):
    """A block, the part it belongs to, and its range in the count of all lanes, under which a store keeps it."""

    part: Part
    block: Rectangle
    start: int
    stop: int


@dataclass(frozen=True)
class Grid:
    """The labels of each dimension, in the order of the result, and the parts. A solve has no dimension."""

    axes: dict[str, list]
    parts: list[Part]

    def size(self, names: Iterable[str]) -> int:
        return int(np.prod([len(self.axes[name]) for name in names], dtype=int))

    def shards(self) -> list[Shard]:
        """All blocks in order."""
        found, start = [], 0
        for part in self.parts:
            for block in part.blocks:
                found.append(Shard(part, block, start, start + block.lanes))
                start += block.lanes
        return found

    def as_json(self) -> dict[str, Any]:
        return {"axes": self.axes, "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Grid":
        parts = [
            Part(**part | {"blocks": [Rectangle(*block) for block in part["blocks"]]}) for part in content["parts"]
        ]
        return cls(content["axes"], parts)


ALONE = Grid({}, [Part({}, [], [], [Rectangle(0, 1, 0, 1)])])  # of a solve
