"""Time and largest memory of a piece of work."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Self

import torch

from crosscue.memory import most_resident_bytes

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
"""Value of clear_refs that starts VmHWM anew (Linux, proc(5))."""


class Gauge:
    """`with Gauge(device) as gauge: ...`, then `gauge.seconds` and `gauge.peak_mb`."""

    seconds = 0.0
    peak_mb: float | None = None
    """Largest memory allocated on the GPU, or of the process on a CPU; None where the system does not report it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._started, self._reset = device, 0.0, False

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with contextlib.suppress(OSError):
                (PROCESS / "clear_refs").write_text(RESET_PEAK)
                self._reset = True
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        if self.device.type == "cuda":
            self.peak_mb = torch.cuda.max_memory_allocated(self.device) / 1e6
        elif self._reset:
            self.peak_mb = most_resident_bytes() / 1e6
