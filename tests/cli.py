"""The command line, in this process (fast) or as a process of its own (as a user meets it)."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from crosscue.cli import main

COMMAND = (sys.executable, "-c", "from crosscue.cli import main; main()")


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def crosscue(*arguments: object, cwd: Path | None = None, **environment: str) -> Done:
    """Runs the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.dict(os.environ, {"COLUMNS": "140", **environment}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(list(map(str, arguments)))
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def process(*arguments: object, cwd: Path | None = None, **environment: str) -> Done:
    """Runs the command line as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "140", **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def succeeds(*arguments: object, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command that must succeed, in this process; returns its output."""
    done = crosscue(*arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: object, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command that must fail in one line with exit code 2, in this process; returns the line."""
    done = crosscue(*arguments, cwd=cwd, **environment)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("crosscue")]
    assert len(lines) == 1, done.stderr
    return lines[0]
