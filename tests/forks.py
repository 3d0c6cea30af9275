"""Processes of their own that can be killed: forks of one process that has imported what training needs and does nothing else."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ["crosscue.api", "transformers.models.clip.modeling_clip", __name__]


def forked(work: Callable[..., object], *arguments: object, cwd: Path | None = None, **written: Path) -> BaseProcess:
    """Starts a function of a module in a process of its own; `output` and `errors` name the files that it prints to."""
    FORKS.set_forkserver_preload(PRELOADED)
    given = (work, arguments, dict(os.environ), cwd or Path.cwd(), written)
    process = FORKS.Process(target=begin, args=given, daemon=True)
    process.start()
    return process


def begin(
    work: Callable[..., object],
    arguments: tuple[object, ...],
    environment: dict[str, str],
    cwd: Path,
    written: dict[str, Path],
) -> None:
    """Runs the function in the new process, with the environment and the folder of the old one."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for name, path in written.items():
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), {"output": 1, "errors": 2}[name])
    torch.set_num_threads(1)
    work(*arguments)
