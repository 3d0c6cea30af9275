"""Progress bars with a rate and an estimate, on standard error."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType
    from rich.progress import Progress

Item = TypeVar("Item")
SILENT = 0.5
"""Seconds after which a command without any line gives a sign of life. A mistake in its options is found earlier."""
FIRST, EVERY = 0.8, 20.0
"""Seconds before the first line of a task where there is no terminal, and between two lines."""

_noted_once = threading.Event()
_muted = threading.Event()
_bars: Progress | None = None
"""The bars on the terminal, if there are any."""


@contextlib.contextmanager
def progress(
    description: str, total: int, unit: str, note: Callable[[], str] | None = None, *, fleeting: bool = False
) -> Iterator[Callable[[int], None]]:
    """Shows a bar for a task of `total` units; yields `advance(n)`.

    On a terminal it is a live bar. Elsewhere (a log file, CI) it is one line in the first second, then one every 20
    seconds. A task that took longer has a line at its end. `note` returns a text to add, such as the loss so far. A
    `fleeting` bar, of a part that comes many times, is gone when its task is done.
    """
    if _muted.is_set():
        yield lambda n: None
        return
    if sys.stderr.isatty():
        with _live_bar(description, total, unit, note, fleeting) as live:
            yield live
        return
    done, start = 0, time.monotonic()
    due = start + FIRST

    def advance(n: int) -> None:
        nonlocal done, due
        done += n
        now = time.monotonic()
        if now > due or (done >= total and now - start > EVERY):
            due = now + EVERY
            rate = done / max(now - start, 1e-9)
            left = (total - done) / max(rate, 1e-9)
            print(  # noqa: T201
                f"{description}: {done:,}/{total:,} {unit}, {rate:,.1f} {unit}/s, {left:,.0f} s left{_noted(note)}",
                file=sys.stderr,
                flush=True,
            )

    yield advance


def note(text: str) -> None:
    """Prints a line about the work in progress on standard error."""
    _noted_once.set()
    if not _muted.is_set():
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def mute() -> None:
    """Shows nothing from now on: of several processes of a run, one shows its progress."""
    _muted.set()


@contextlib.contextmanager
def starting(command: str) -> Iterator[None]:
    """Prints a sign of life if nothing was noted after `SILENT` seconds, as during large imports."""
    _noted_once.clear()
    timer = threading.Timer(SILENT, lambda: None if _noted_once.is_set() else note(f"starting {command}"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _live_bar(
    description: str, total: int, unit: str, note: Callable[[], str] | None, fleeting: bool
) -> Iterator[Callable[[int], None]]:
    """Adds a bar to those on the terminal: validation, for example, has one below that of training."""
    with _open_bars(fleeting) as bars:
        task = bars.add_task(description, total=total, unit=unit, rate="", below="")
        start, done = time.monotonic(), 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            rate = done / max(time.monotonic() - start, 1e-9)
            below = note() if note is not None else ""
            bars.update(task, advance=n, rate=f"{rate:,.1f} {unit}/s", below=below)

        yield advance
        if len(bars.tasks) > 1:
            bars.remove_task(task)


@contextlib.contextmanager
def _open_bars(fleeting: bool) -> Iterator[Progress]:
    """Yields the bars that are on the terminal, or opens them."""
    global _bars
    if _bars is not None:
        yield _bars
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.description}"),
        BarColumn(16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )

    class Bars(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:
                yield self.make_tasks_table([task])
                if task.fields["below"]:
                    yield Text(f"  {task.fields['below']}", style="dim")

    try:
        with Bars(*columns, console=Console(stderr=True), transient=fleeting) as _bars:
            yield _bars
    finally:
        _bars = None


def _noted(note: Callable[[], str] | None) -> str:
    return f", {note()}" if note is not None else ""


def track(items: Iterable[Item], description: str, total: int, unit: str) -> Iterator[Item]:
    """Yields each of `items`, advancing a bar by one after each."""
    with progress(description, total, unit) as advance:
        for item in items:
            yield item
            advance(1)
