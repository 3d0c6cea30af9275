"""The start of a run in its folder: a new one, or one that is continued as it was."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from crosscue.errors import RunError
from crosscue.storage import read_json, require_empty, write_json, write_text
from crosscue.training.checkpoints import ADAPTER
from crosscue.training.journal import JOURNAL, read_journal
from crosscue.training.runs import (
    BACKBONE,
    CONFIG,
    ENVIRONMENT,
    FORMAT,
    RESTORE,
    BackboneIdentity,
    read_backbone,
    read_config,
)
from crosscue.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

UNFINISHED = (BACKBONE, ENVIRONMENT, "pairs.json", JOURNAL, "checkpoints", "folds")
VERSIONED = ("torch", "transformers", "accelerate", "safetensors", "numpy", "pillow")


def check_run(
    folder: Path,
    config: dict[str, Any],
    backbone: BackboneIdentity,
    data: dict[str, Any],
    *,
    resume: bool,
    beside: Sequence[str] = (),
    begun: bool | None = None,
) -> bool:
    """Compares what a run folder contains with the run that is to be started or continued in it.

    Args:
        folder: new or empty, or with `resume` the folder of an interrupted run.
        config: the resolved configuration, plain types only.
        backbone: identity of the loaded backbone.
        data: fingerprints and sizes of the pairs; only the entries that are given are compared.
        resume: continue the run that is in the folder.
        beside: names of folders that may be there already.
        begun: True if there is something to protect; default whether a step has been made.

    Returns:
        True if there is a run to continue.

    Raises:
        RunError: the folder holds a run and `resume` is off; or it is resumed with another configuration, backbone or
            data. The message lists every difference.
    """
    if not (folder / CONFIG).exists():
        require_empty(folder, but=(*UNFINISHED, *beside))
        return False
    if not (_begun(folder) if begun is None else begun):
        return False
    if not resume:
        raise RunError(
            f"{folder}: there is a run in this folder. Add --resume to continue it, or choose another --out."
        )
    kept = read_json(folder / ENVIRONMENT, RunError, RESTORE).get("data", {})
    written = yaml.safe_load(_as_yaml(config))  # a tuple is a list in the file
    changed = [
        *_differences(read_config(folder), written, ""),
        *_differences(asdict(read_backbone(folder)), asdict(backbone), "backbone "),
        *_differences({name: kept[name] for name in data if name in kept}, data, "data "),
    ]
    if changed:
        raise RunError(
            f"{folder}: this run was started differently, so it cannot be continued: {'; '.join(changed)}. "
            "Use the old values, or start anew with another --out."
        )
    return True


def start_run(folder: Path, config: dict[str, Any], backbone: BackboneIdentity, data: dict[str, Any]) -> None:
    """Writes the configuration of a new run; `check_run` tells whether there is one to continue."""
    write_json(folder / BACKBONE, {"format": FORMAT, "crosscue": __version__, **asdict(backbone)})
    versions = {"crosscue": __version__} | {name: importlib.metadata.version(name) for name in VERSIONED}
    write_json(folder / ENVIRONMENT, {"python": platform.python_version(), "versions": versions, "data": data})
    write_text(folder / CONFIG, _as_yaml(config))


def _begun(folder: Path) -> bool:
    """Returns True if a run in the folder has made a step; one that failed earlier has nothing to protect."""
    lines = (line for part in (folder, *folder.glob("folds/*")) for line in read_journal(part / JOURNAL))
    saved = (folder / ADAPTER).exists() or (folder / "checkpoints" / "last").exists()
    return saved or any(line["step"] for line in lines)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} was {before!r} and is {now!r}")
    return found


def _as_yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
