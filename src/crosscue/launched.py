"""Signs in the environment that a process is one of several of a run."""

from __future__ import annotations

import os

LAUNCHED = {"TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""Variables of torchrun. Where one is missing, a run has one process, whatever other launchers have left behind."""
OURS = "CROSSCUE_PROCESSES"
"""Variable of processes that `crosscue adapt --processes` starts. It prints the message about one that was killed."""


def one_of_many() -> bool:
    """Returns True in a process that torchrun started beside others."""
    return os.environ.keys() >= LAUNCHED and os.environ["WORLD_SIZE"] != "1"
