"""How long a run will take: what its experiments took when they were measured, corrected by what they take now."""

from collections.abc import Sequence

LONG = 30 * 60  # seconds


def promise(measured: Sequence[float | int | None]) -> str:
    """Say before a run starts how long it takes.

    **Arguments**: `measured`, of each experiment that will run the CPU seconds on one core; None where nobody measured.

    **Returns** the words; more than half an hour is said to be long.

        >>> from theorylab.report.times import promise
        >>> promise([60.0, 120.0, 240.0])
        'about 7 minutes on one core, measured'
        >>> promise([60.0, None])
        'about 60 seconds on one core, measured, and 1 experiment that was not'
    """
    known = [seconds for seconds in measured if seconds is not None]
    unknown = len(measured) - len(known)
    if not measured:
        return "all its data are there: figures and claims are made again"
    if not known:
        return "how long it takes was not measured"
    about = f"about {duration(sum(known))} on one core, measured"
    if unknown:
        about += f", and {_experiments(unknown)} that {'was' if unknown == 1 else 'were'} not"
    return f"it takes long: {about}; interrupted, it keeps what is finished" if sum(known) > LONG else about


def left(measured: Sequence[float | int | None], took: Sequence[float | int]) -> str:
    """Say after an experiment how long those take that still will run.

    The measured seconds are scaled by what the experiments before took over what they were measured to take: that
    knows this machine, and how many of its cores they used.

    **Arguments**: `measured`, as for `promise`; `took`, the seconds on the wall of the first of them.

    **Returns** the words, empty after the last.

        >>> from theorylab.report.times import left
        >>> left([60.0, 120.0, 240.0], [30.0])
        'about 3 minutes left'
    """
    before = [(wall, seconds) for wall, seconds in zip(took, measured, strict=False) if seconds]
    scale = sum(wall for wall, _ in before) / sum(seconds for _, seconds in before) if before else 1.0
    later = measured[len(took) :]
    known = [seconds for seconds in later if seconds is not None]
    parts = [f"about {duration(scale * sum(known))}"] if known else []
    if len(known) < len(later):
        parts.append(f"{_experiments(len(later) - len(known))} not measured")
    return f"{' and '.join(parts)} left" if parts else ""


def duration(seconds: float | int) -> str:
    """Say seconds in words, as exact as an estimate can be.

    **Arguments**: `seconds`.

    **Returns** the words.

        >>> from theorylab.report.times import duration
        >>> [duration(seconds) for seconds in (0.3, 47, 100, 5000, 9000)]
        ['0.3 seconds', '47 seconds', '2 minutes', '83 minutes', '2.5 hours']
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds" if seconds > 9.5 else f"{seconds:.1f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _experiments(count: int) -> str:
    return f"{count} experiment{'' if count == 1 else 's'}"
