"""Time that a search may take."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from crosscue.errors import OptionError

SECONDS = {"s": 1, "m": 60, "h": 3600}
DEFAULT = "10m"
"""Budget of a search."""
MARGIN = 2
"""A budget that an error message names, relative to the time that was expected: this machine may be slower next time."""


def seconds_of(budget: str) -> float:
    """Returns the seconds of a budget such as `90s`, `10m` or `1.5h`.

    Raises:
        OptionError: it is not a positive number with a unit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip()) if isinstance(budget, str) else None
    seconds = float(found[1]) * SECONDS[found[2]] if found is not None else 0.0
    if not 0 < seconds < math.inf:
        raise OptionError(
            f"budget is {budget!r}; it must be a number above 0 and a unit (s, m or h), such as --budget 10m."
        )
    return seconds


def budget_of(seconds: float) -> str:
    """Returns a budget that holds so many seconds, rounded up to whole seconds or minutes."""
    return f"{math.ceil(seconds)}s" if seconds <= 90 else f"{math.ceil(seconds / 60)}m"


def least_budget(seconds: float) -> str:
    """Returns the budget to name where a smaller one than so many seconds, as they are expected, is not enough."""
    return budget_of(MARGIN * seconds)


class Budget:
    """A budget and the part of it that is used."""

    def __init__(self, seconds: float, spent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock; `spent` are the seconds that an interrupted search has used before."""
        self.seconds, self.clock = seconds, clock
        self._started = clock() - spent
        self._reserved = 0.0

    def spent(self) -> float:
        """Returns the seconds used so far."""
        return self.clock() - self._started

    def reserve(self, seconds: float) -> None:
        """Keeps seconds for what follows the trials."""
        self._reserved += seconds

    def taken(self) -> float:
        """Returns the seconds that are used or reserved."""
        return self.spent() + self._reserved

    def left(self) -> float:
        """Returns the seconds that are left for trials, at least 0."""
        return max(self.seconds - self.taken(), 0.0)
