"""The export folder: its files, and the record that describes them.

crosscue.json                    record of the export: identity, precisions, measured parity, SHA-256 of each file
config.json                      widths and context length, as Immich reads them
README.md                        card
visual/                          model.onnx, model.w8.onnx, preprocess_cfg.json
textual/                         model.onnx, model.w8.onnx, tokenizer.json, tokenizer_config.json
bank.safetensors                 training captions for the correction of hubness, where the run has them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Identity
from crosscue.errors import RunError
from crosscue.storage import read_json
from crosscue.version import __version__

RECORD = "crosscue.json"
FORMAT = 1
"""Format of the export folders that this version writes."""
AGAIN = "Export the run again, or pull it again."


@dataclass(frozen=True)
class ExportRecord:
    """Description of an export."""

    run: str
    """SHA-256 of the run (`Run.fingerprint`)."""
    method: str
    backbone: str
    width: int
    """D."""
    pixels: PixelSpec
    context_length: int
    """Most positions of a text, special tokens included and prompts left out."""
    pad: int
    """Token id of the padding."""
    precisions: tuple[str, ...]
    """Of `fp32` and `w8`, those that the folder has."""
    bank_reading: str
    """Text mode of the bank."""
    parity: Mapping[str, Any] = field(default_factory=dict)
    """Precision -> its agreement with torch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> SHA-256."""

    def identity(self, folder: Path, precision: str) -> Identity:
        """Returns the origin of the vectors of one precision."""
        return Identity(
            run=self.run,
            source=str(folder),
            method=self.method,
            backbone=self.backbone,
            width=self.width,
            image_size=self.pixels.size,
            runtime="onnx",
            precision=precision,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `crosscue.json`."""
        return {"format": FORMAT, "crosscue": __version__, **asdict(self)}


def is_export(folder: Path) -> bool:
    """Returns True if a folder is an export."""
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> ExportRecord:
    """Returns the record of an export.

    Raises:
        RunError: the folder is no export, is damaged, or has a format of another version.
    """
    if not is_export(folder):
        raise RunError(f"{folder}: this is no export (no {RECORD}). Make one: crosscue export onnx RUN --out {folder}")
    content = read_json(folder / RECORD, RunError, AGAIN)
    written = content.pop("crosscue", "(version unknown)") if isinstance(content, dict) else ""
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise RunError(f"{folder}: crosscue {written} wrote this export in another format. {AGAIN}")
    try:
        spec = content.pop("pixels")
        pixels = PixelSpec(**spec | {"mean": tuple(spec["mean"]), "std": tuple(spec["std"])})
        return ExportRecord(pixels=pixels, precisions=tuple(content.pop("precisions")), **content)
    except (TypeError, KeyError, ValueError) as error:
        raise RunError(f"{folder / RECORD}: not as written by crosscue ({error}). {AGAIN}") from error
