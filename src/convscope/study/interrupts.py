"""Ctrl-C and SIGTERM as a question that a loop asks between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether a signal has asked to stop.

    Attributes:
        requested: whether one came.
    """

    def __init__(self) -> None:
        self.requested = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Remember the first signal; a second one stops at once."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Yield an :class:`Interrupt` that notes Ctrl-C and SIGTERM while the block runs.

    Python lets the main thread alone handle signals; in another one nothing is changed.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = [(number, signal.signal(number, interrupt.note)) for number in SIGNALS]
    try:
        yield interrupt
    finally:
        for number, handler in before:
            signal.signal(number, handler)
