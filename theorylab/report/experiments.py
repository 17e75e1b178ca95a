"""An experiment's data, and what its claims say of them: of fresh draws once more, where a draw may have erred."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from theorylab.papers import Experiment, Size, Verdict


def make(experiment: Experiment, *, size: Size, seed: int, precision: str, again: bool = False) -> Any:
    """Run an experiment, under a key that is its own by its name.

    **Arguments**: `experiment`; `size`; `seed` of the key; `precision`, that of its paper; `again`, whether the draws
    are those of a second run.

    **Returns** the dataset, loaded; what the experiment prints goes to stderr.

    **Raises** what the experiment raises.
    """
    import jax

    from theorylab.engine.keys import stream

    key = stream(jax.random.key(seed), experiment.name)
    with jax.enable_x64(precision == "float64"), contextlib.redirect_stdout(sys.stderr):
        return experiment.run(experiment.sizes[size], stream(key, "again") if again else key).load()


def decide(experiment: Experiment, dataset: Any, again: Callable[[bool], Any]) -> list[tuple[Verdict, bool]]:
    r"""Check an experiment's claims; those that may have erred by a draw are decided by fresh draws.

    A statistical verdict errs as rarely as three sigma, $0.0027$: of a thousand claims three would miss at every change
    of draws, and a second time as well $7 \cdot 10^{-6}$ of them.

    **Arguments**: `experiment`; `dataset`, its data; `again`, called once with whether a statistical claim's verdict is
    not the expected one, to give the data of fresh draws if so.

    **Returns** of each claim the verdict, and whether fresh draws gave it.
    """
    verdicts = [claim.check(dataset) for claim in experiment.claims]
    missed = [
        verdict.statistical and verdict.verdict != claim.expected
        for claim, verdict in zip(experiment.claims, verdicts, strict=True)
    ]
    fresh = again(any(missed))
    return [
        (claim.check(fresh) if miss else verdict, miss)
        for claim, verdict, miss in zip(experiment.claims, verdicts, missed, strict=True)
    ]
