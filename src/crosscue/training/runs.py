"""The run folder: the files of one training run, small enough to move, complete enough to search with.

config.yaml           all options, defaults included
adapter.safetensors   the learned tensors, nothing else
backbone.json         format of the folder, identity of the backbone and the hash of its weights
metrics.jsonl         every logged step
environment.json      versions of packages, hashes of the data
pairs.json            hashes of the images that were trained on, and of the validation images
README.md             model card
calibration.json      temperatures fitted on the validation pairs; absent without any
checkpoints/          state to resume from; not needed after training
folds/                journals and checkpoints of the trainings on folds, after --folds; not needed after training
report/               comparison before and after: the latest, and a folder for each evaluation
"""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import fingerprint_of_tensors
from crosscue.configuration import configured
from crosscue.errors import BackboneError, OptionError, RunError
from crosscue.methods.registry import config_of, method_class
from crosscue.storage import fingerprint_of, read_json, write_text
from crosscue.training.checkpoints import ADAPTER, save_learned
from crosscue.version import __version__

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.methods.contract import Method

CONFIG, BACKBONE, ENVIRONMENT = "config.yaml", "backbone.json", "environment.json"
RESTORE = "Restore the file, or adapt again."
FORMAT = 1
"""Format of the run folders that this version writes."""
RENAMED: dict[int, list[tuple[str, str, str]]] = {}
"""Format -> options renamed in it, each as group, old name and new name: `("training", "rate", "lr")`."""


@dataclass(frozen=True)
class BackboneIdentity:
    """The backbone that the learned tensors belong to."""

    source: str
    revision: str | None
    family: str
    image_size: int
    fingerprint: str

    @classmethod
    def of(cls, backbone: Backbone) -> BackboneIdentity:
        """Returns the identity of a loaded backbone."""
        return cls(backbone.source, backbone.revision, backbone.family, backbone.pixels.size, backbone.checkpoint)


def new_folder(method: str) -> Path:
    """Returns a folder name nobody uses yet: runs/<method>-<time>."""
    return Path("runs") / f"{method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def run_path(run: str | Path) -> Path:
    """Returns the path of a run folder. Raises `RunError` for a value that is no path."""
    if not isinstance(run, str | PathLike):
        raise RunError(f"the run is {run!r}; it must be a run folder, or for evaluate also a method or a loaded run.")
    return Path(run)


def finish_run(folder: Path, method: Method[Any], card: str) -> None:
    """Writes the learned tensors and the model card."""
    save_learned(folder / ADAPTER, method.learned_state())
    write_text(folder / "README.md", card)


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the configuration of a run, with the option names of this version.

    Raises:
        RunError: the folder is not a run folder, is damaged, or has an unknown format.
    """
    path = folder / CONFIG
    if not path.exists():
        raise RunError(
            f"{folder}: this is not a run folder (no {CONFIG}). Give the FOLDER of `crosscue adapt --data SOURCE --out FOLDER`."
        )
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{path}: not valid YAML ({str(error).splitlines()[0]}). {RESTORE}") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("method"), str):
        raise RunError(f"{path}: names no method. {RESTORE}")
    options = loaded.get("options")
    if not isinstance(options, dict | NoneType):
        raise RunError(f"{path}: options is {options!r}; it must be a mapping. {RESTORE}")
    for number in range(_format(folder) + 1, FORMAT + 1):
        for group, old, new in RENAMED.get(number, []):
            if old in loaded.get(group, {}):
                loaded[group][new] = loaded[group].pop(old)
    return loaded


def _format(folder: Path) -> int:
    """Returns the format of a run folder.

    Raises:
        RunError: this version does not read it.
    """
    record = _read_json(folder / BACKBONE)
    number, version = record.get("format"), record.get("crosscue")
    if type(number) is int and 1 <= number <= FORMAT:
        return number
    remedy = f"Load it with the version that wrote it: pip install crosscue=={version}" if version else "Adapt again."
    raise RunError(
        f"{folder}: crosscue {version or '(version unknown)'} wrote this run folder in format {number}, and crosscue "
        f"{__version__} reads formats 1 to {FORMAT}. {remedy}"
    )


def configured_method(folder: Path) -> tuple[type[Method[Any]], Any]:
    """Returns the class of a run's method and its checked options.

    Raises:
        RunError: the folder is not a run folder, or its options do not fit the method.
        MethodError: there is no such method.
    """
    config = read_config(folder)
    found = method_class(config["method"])
    try:
        return found, config_of(found, config.get("options"))
    except OptionError as error:
        raise RunError(f"{folder / CONFIG}: {error}") from error


def read_backbone(folder: Path) -> BackboneIdentity:
    """Returns the backbone a run belongs to.

    Raises:
        RunError: the file is missing or damaged.
    """
    record = _read_json(folder / BACKBONE)
    try:
        return configured(
            BackboneIdentity, {name: record[name] for name in record.keys() - {"format", "crosscue"}}, "backbone"
        )
    except OptionError as error:
        raise RunError(f"{folder / BACKBONE}: not as written by crosscue: {error} {RESTORE}") from error


def load_own_backbone(folder: Path, source: str | Path | None, *, precision: str, device: str | None) -> Backbone:
    """Returns the backbone of a run, from `source` or from the place that the run folder names.

    Raises:
        RunError: it cannot be loaded from there.
    """
    own = read_backbone(folder)
    try:
        return load_backbone(str(source or own.source), image_size=own.image_size, precision=precision, device=device)
    except BackboneError as error:
        raise RunError(
            f"{folder}: its backbone '{own.source}' (weights {own.fingerprint[:12]}) cannot be loaded: {error} "
            f"If it is in another place now: crosscue evaluate {folder} --data SOURCE --backbone FOLDER"
        ) from error


def load_method(folder: Path, backbone: Backbone) -> Method[Any]:
    """Returns the adapted method of a finished run, around `backbone`.

    Raises:
        RunError: the run is unfinished, damaged, or belongs to another backbone.
    """
    found, options = configured_method(folder)
    made_with = read_backbone(folder)
    if backbone.checkpoint != made_with.fingerprint:
        raise RunError(
            f"{folder}: this run was made with backbone '{made_with.source}' (weights {made_with.fingerprint[:12]}), and "
            f"'{backbone.source}' has other weights ({backbone.checkpoint[:12]}). Load it with the backbone it was made with."
        )
    path = folder / ADAPTER
    if not path.exists():
        raise RunError(
            f"{folder}: the run is not finished (no {ADAPTER}). Finish it: "
            f"crosscue adapt --config {folder}/config.yaml --out {folder} --resume"
        )
    method = found(backbone, options)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: damaged ({error}). {RESTORE}") from error
    method.load_learned_state(state)
    return method.eval()


def fingerprint(method: Method[Any]) -> str:
    """Returns a SHA-256 over the backbone, the name and options of a method, and its learned tensors."""
    identity = {
        "backbone": method.backbone.checkpoint,
        "image_size": method.backbone.pixels.size,
        "method": method.name,
        "options": asdict(method.config),
        "learned": fingerprint_of_tensors(method.learned_state()),
    }
    return fingerprint_of([identity])


def _read_json(path: Path) -> dict[str, Any]:
    loaded = read_json(path, RunError, RESTORE)
    if not isinstance(loaded, dict):
        raise RunError(f"{path}: not as written by crosscue. {RESTORE}")
    return loaded
