"""Locks between real processes: one run a folder, and one that waits for another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosscue.errors import StorageError
from crosscue.locks import locked, sole_run

HOLD = """
import sys
from pathlib import Path
from crosscue.locks import sole_run
with sole_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder until its input is closed or it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_gets_one_line_with_process_and_host(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StorageError) as caught, sole_run(tmp_path):
        pytest.fail("two processes hold one folder")
    assert f"another run is writing here (process {holder.pid} on {socket.gethostname()})" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError), sole_run(tmp_path):  # the refusal has not released the holder's lock
        pytest.fail("two processes hold one folder")
    assert holder.communicate("")[0] == ""
    with sole_run(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with sole_run(tmp_path), pytest.raises(StorageError, match=f"process {os.getpid()} on "), sole_run(tmp_path):
        pytest.fail("two runs hold one folder")


def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"file/run: cannot be written .* Choose another folder"),
        sole_run(tmp_path / "file" / "run"),
    ):
        pytest.fail("a file is no folder")


WAIT = """
import sys
from pathlib import Path
from crosscue.locks import locked
with locked(Path(sys.argv[1]), "another run fills it"):
    print("held", flush=True)
"""


def test_a_waiting_process_says_so_and_goes_on_when_the_lock_is_free(tmp_path: Path) -> None:
    with locked(tmp_path / ".filling", "never said"):
        second = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(tmp_path / ".filling")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None and "another run fills it" in second.stderr.readline()
        assert second.poll() is None
    assert second.communicate() == ("held\n", "")
    assert second.returncode == 0
