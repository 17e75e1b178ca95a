"""Races: methods against each other, on the engine."""

from collections.abc import Callable, Mapping
from typing import Any

import theorylab.engine as tl

from .tables import predict


def race(
    build: Callable[..., Any],
    over: Mapping[str, Any],
    *,
    seeds: int,
    key: Any,
    steps: int,
    record: Mapping[str, Callable[[Any, Any], Any]],
    settle: float = 0.25,
    rows: int = 40,
    also: Any = (),
    theory: Callable[[Any, Any], Any] | None = None,
) -> Any:
    """Run methods against each other, and keep the path of some numbers and where each of them settles.

    **Arguments**: `build`, `over`, `seeds`, `key`, `steps`, as in `tl.sweep`; `record`, functions of (problem, state)
    by name; `settle`, the share of the steps at the end whose mean is where a number settles, 0 for none; `rows`, about
    how many steps are kept; `also`, further `tl.Record`s; `theory`, of (problem, method), such as
    `games.stationary_error`, whose numbers stand beside the runs (see `predict`).

    **Returns** the `xarray.Dataset` of the sweep: the path of `record` under its names, its means `<name>_settled`, and
    the `status` of every lane.

        >>> import jax.numpy as jnp, theorylab as tl, theorylab.papers.kit as kit
        >>> game = tl.games.AffineGame([[[1.0]]], [[0.0]])
        >>> def build(key, *, step_size):
        ...     return tl.games.GradientDescentAscent(step_size), game, jnp.ones(1)
        >>> found = kit.race(build, {"step_size": jnp.asarray([0.5, 1.0])}, seeds=1, key=0, steps=4,
        ...     record={"error": lambda game, state: jnp.sum(state.x**2)})
        >>> found.error.isel(step_size=0, seed=0).values.tolist()
        [1.0, 0.25, 0.0625, 0.015625, 0.00390625]
    """
    records = [tl.Record(tl.every(max(1, steps // rows)), **record), *also]
    if settle:
        after = steps - int(settle * steps)
        means = {f"{name}_settled": tl.Mean(function, after=after) for name, function in record.items()}
        records.append(tl.Record(tl.every(1), **means))
    dataset = tl.sweep(build, over=over, seeds=seeds, key=key, steps=steps, record=records)
    return dataset if theory is None else dataset.merge(predict(theory, build, over), compat="no_conflicts")
