"""The estimate of a command: its parts in seconds, the memory of its process, and the disk that it fills."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, ENOUGH = 52, 1.0
"""Characters of the names of parts, and seconds after which a measurement is not repeated."""


@dataclass(frozen=True)
class Part:
    """A part of the work."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of a command that has not run."""

    title: str
    parts: Sequence[Part]
    memory: float
    """Bytes of all processes at their largest."""
    free: float
    """Bytes that they can have."""
    disk: Sequence[tuple[str, float]] = ()
    """Name of what is written, and its bytes."""
    remedies: Sequence[str] = ()
    """Lines about batches that fit, and about what was not counted."""
    details: Sequence[str] = ()
    """Lines about how the numbers were found."""

    @property
    def seconds(self) -> float:
        """Wall seconds of all parts."""
        return sum(part.seconds for part in self.parts)

    def __str__(self) -> str:
        lines = [self.title]
        lines += [f"  {part.what:<{WIDTH}} {duration(part.seconds):>10}" for part in self.parts]
        if len(self.parts) > 1:
            lines.append(f"  {'in all':<{WIDTH}} {duration(self.seconds):>10}")
        fits = "" if self.memory <= self.free else ": DOES NOT FIT"
        lines.append(f"memory: {size(self.memory)} of {size(self.free)} free{fits}")
        if self.disk:
            listed = ", ".join(f"{size(count)} {what}" for what, count in self.disk)
            lines.append(f"disk: {listed}")
        return "\n".join([*lines, *self.remedies, *self.details]) + "\n"


def duration(seconds: float) -> str:
    """Returns a time in the two units that a reader needs, such as `3 min 20 s`."""
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 10:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60} min"


def size(count: float) -> str:
    """Returns a number of bytes in the unit that a reader needs."""
    if math.isnan(count):
        return "an unknown amount"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.{1 if count < 10 * unit else 0}f} {name}"
    return f"{count:.0f} bytes"


def load_note() -> list[str]:
    """Returns a line about other programs, where they slow the measurement down."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores:
        return []
    return [
        f"other programs keep this machine busy (load {load:.1f} on {cores} cores), so it takes less on an idle one"
    ]


def measured(work: Callable[[], object]) -> float:
    """Returns the least seconds of three calls, after one that warms up; of fewer, once they have taken `ENOUGH` seconds."""
    work()
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < ENOUGH:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def evenly(count: int, most: int) -> list[int]:
    """Returns at most `most` of `count` positions, evenly spaced."""
    return [index * count // min(count, most) for index in range(min(count, most))]
