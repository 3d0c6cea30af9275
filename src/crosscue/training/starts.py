"""The start of a run: the processes are given the same, and what does not change the result is noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from crosscue.storage import read_json, write_json
from crosscue.training.runs import ENVIRONMENT
from crosscue.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from crosscue.methods.contract import Method
    from crosscue.training.processes import Processes


def compare(method: Method[Any], resolved: Mapping[str, Any], data: Mapping[str, Any], processes: Processes) -> None:
    """Raises `ProcessError` where the processes of a run have not been given the same; the message names the difference."""
    backbone = method.backbone
    versions = {"crosscue": __version__, "torch": torch.__version__}
    prints = {f"fingerprint of {part}": (data[part] or {}).get("fingerprint") for part in ("train", "val")}
    device = {"kind": backbone.device.type, "precision": backbone.precision.name}
    processes.require_devices(backbone.device)
    processes.same("versions", versions, "Install the same on all machines.")
    processes.same("data", prints, "Give all the same --data.")
    processes.same("weights", {"hash": backbone.checkpoint}, "Give all the same --backbone.")
    processes.same("options", resolved, "Give all the same command.")
    processes.same("device", device, "Use machines of one kind, or give --device and --precision.")


def note_start(folder: Path, values: Mapping[str, Any]) -> None:
    """Adds to environment.json a start or resumption of a run: values that decide its time and memory, not its result."""
    record = read_json(folder / ENVIRONMENT)
    write_json(folder / ENVIRONMENT, record | {"starts": [*record.get("starts", []), dict(values)]})
