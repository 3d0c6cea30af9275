"""Interruption between two steps instead of in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interruption:
    """The state of a request to stop, from the user or the system."""

    requested = False


_open: Interruption | None = None
"""The flag of the context that is open, if there is one."""


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Yields a flag that the first Ctrl-C or SIGTERM sets. The loop reads it between steps; the second signal acts at once.

    A context inside another one yields the flag of that one.
    """
    global _open
    if threading.current_thread() is not threading.main_thread():
        yield Interruption()
        return
    if _open is not None:
        yield _open
        return
    state = Interruption()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        state.requested = True
        signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, request)
    _open = state
    try:
        yield state
    finally:
        _open = None
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
