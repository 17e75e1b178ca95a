"""A progress bar on stderr, moved by the host between chunks."""

from typing import Any


class Progress:
    """A bar over the steps of a run; `with Progress(shown, ...) as bar: bar.at(step)`."""

    def __init__(self, shown: bool, label: str, steps: int):
        self._bar: Any = None
        if shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(label, total=steps, note="")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, step: int, note: str = "") -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
