"""SIGINT and SIGTERM wait for the next border of a chunk, where the state is saved, and then take their course."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, a signal is kept until `heed` is called, or the end; a second one takes its course at once.

    `heed(save)` saves, says on stderr how to go on, and hands the signal to whoever had it before: Ctrl-C still raises
    `KeyboardInterrupt`, and SIGTERM still ends the process, with the exit statuses 130 and 143.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in CAUGHT:
                # None: a handler that was not set from Python, and could not be set again
                if signal.getsignal(number) is not None:
                    self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._restore()
        if self._signal is not None and kind is None:
            signal.raise_signal(self._signal)

    def heed(self, save: Callable[[], str]) -> None:
        """Where a signal has come: save, and let it go on. `save` returns what to tell of it."""
        if self._signal is None:
            return
        number, self._signal = self._signal, None
        print(f"\n{signal.Signals(number).name}: {save()}", file=sys.stderr, flush=True)
        self._restore()
        signal.raise_signal(number)

    def _catch(self, number: int, frame: Any) -> None:
        if self._signal is not None:
            self._restore()
            signal.raise_signal(number)
        self._signal = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
