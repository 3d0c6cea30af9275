"""The memory of this machine that is free, and that of this process."""

from __future__ import annotations

import sys
from pathlib import Path

LISTING, OWN, STATUS = (Path("/proc") / name for name in ("meminfo", "self/statm", "self/status"))


def available_bytes() -> float:
    """Returns the free bytes of this machine, at most what a limit of the process leaves; nan where the system has no list of them."""
    if not LISTING.exists():
        return float("nan")
    import resource  # not on every system

    lines = dict(line.split(":") for line in LISTING.read_text().splitlines())
    available = 1024.0 * int(lines["MemAvailable"].split()[0])
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return available
    used = int(OWN.read_text().split()[0]) * resource.getpagesize()
    return min(available, float(limit - used))


def resident_bytes() -> float:
    """Returns the bytes of this process in memory: now, or at their most where the system has no other number; nan without any."""
    try:
        import resource
    except ImportError:
        return float("nan")
    if OWN.exists():
        return float(int(OWN.read_text().split()[1]) * resource.getpagesize())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else 1024 * most)


def most_resident_bytes() -> float:
    """Returns the bytes of this process in memory at their most so far; those of now where the system has no such number."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    most = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return most[0] if most else resident_bytes()
