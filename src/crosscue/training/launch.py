"""Start of several processes on this machine, and the message about one that was killed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from crosscue.errors import ProcessError
from crosscue.launched import OURS
from crosscue.training.checkpoints import standing
from crosscue.training.journal import JOURNAL, read_journal


def launch(count: int, arguments: Sequence[str], folder: Path) -> int:
    """Runs `crosscue` with the arguments in several processes of this machine, and returns the exit code.

    Raises:
        ProcessError: one of them was killed, or ended by a fault of the program.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # of this process, which has nothing else to report
    threads = os.environ.get("OMP_NUM_THREADS") or str(max((os.cpu_count() or 1) // count, 1))
    os.environ.update({"OMP_NUM_THREADS": threads, OURS: "1"})
    run = LaunchConfig(
        *(1, 1, count),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    try:
        elastic_launch(run, sys.executable)("-m", "crosscue", *arguments)
    except SignalException:
        return 130
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]
        if not killed:
            return 130 if 130 in codes.values() else max(codes.values())
        lines = [line["step"] for line in read_journal(folder / JOURNAL)]
        raise ProcessError(
            f"process {killed[0]} of {count} ended (signal {-codes[killed[0]]}) at step {max(lines, default=0) + 1}. "
            f"{standing(folder)}"
        ) from error
    return 0
