"""Models of `transformers` from the files of a checkpoint: with all their tensors, or refused with the names that are missing."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from crosscue.errors import BackboneError
from crosscue.progress import note
from crosscue.source_files import POINTER, reading, require_own
from crosscue.storage import read_json

AGAIN = "Fetch the checkpoint again."
OPEN_CLIP = re.compile(r"(visual|transformer|text)\.(transformer\.)?(conv1|resblocks|trunk|proj|class_embedding)\b")
"""Names of tensors as OpenCLIP writes them."""
FROM_OPEN_CLIP = (
    "These are the names of OpenCLIP. Give the same checkpoint in the form of transformers, "
    "such as --backbone laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
)


def checkpoint_json(folder: Path, name: str) -> dict[str, Any]:
    """Returns the content of a JSON file of a checkpoint.

    Raises:
        BackboneError: it is missing, or holds something else.
    """
    path = folder / name
    if not path.exists():
        if (folder / "open_clip_config.json").exists():
            raise BackboneError(f"{folder}: no {name}, but an open_clip_config.json. {FROM_OPEN_CLIP}")
        if (folder / "backbone.json").exists():
            raise BackboneError(
                f"{folder}: this is a run, not a backbone. Evaluate it: crosscue evaluate {folder} --data SOURCE"
            )
        raise BackboneError(f"{folder}: no {name}. This is not the folder of a supported checkpoint.")
    loaded = read_json(path, BackboneError, AGAIN)
    if not isinstance(loaded, dict):
        raise BackboneError(f"{path}: holds no mapping. {AGAIN}")
    return loaded


def pretrained_model(loader: Any, folder: Path, **options: Any) -> Any:
    """Returns a model in float32 with every tensor of a checkpoint; pickled weights are read as tensors alone.

    A prefix that a wrapper of training gave to all names, such as `module.`, is left out, with a note.

    Raises:
        BackboneError: the files cannot be read, do not cover the model, or hold numbers that are not finite.
    """
    require_fetched(folder)
    model, missing, unexpected = _loaded(loader, folder, **options)
    prefix = common_prefix(missing, unexpected)
    if prefix is not None:
        note(f"{folder}: read without the prefix '{prefix}' of the names of its tensors")
        renamed = {f"^{re.escape(prefix)}": ""}
        model, missing, unexpected = _loaded(loader, folder, key_mapping=renamed, **options)
    if missing:
        remedy = FROM_OPEN_CLIP if any(map(OPEN_CLIP.match, unexpected)) else "Save the whole model, or fetch it again."
        raise BackboneError(
            f"{folder}: the checkpoint lacks tensors of {loader.__name__}: {listed(missing)}. "
            f"It has tensors that belong to nothing: {listed(unexpected)}. {remedy}"
        )
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise BackboneError(f"{folder}: tensor {name} holds numbers that are not finite. {AGAIN}")
    return model


def require_fetched(folder: Path) -> None:
    """Raises `BackboneError` for a folder in which Git LFS left pointers in place of files."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with reading(path, BackboneError), path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                require_own(path, POINTER, BackboneError)


def common_prefix(missing: Collection[str], unexpected: Collection[str]) -> str | None:
    """Returns the text that stands before all missing names in the unexpected ones; None if there is no such text."""
    some = min(missing, key=len, default="")
    prefixes = {name.removesuffix(some) for name in unexpected if some and name.endswith(some)}
    known = set(unexpected)
    return next((before for before in sorted(prefixes) if all(f"{before}{name}" in known for name in missing)), None)


def listed(names: Collection[str]) -> str:
    """Returns the first three names and the number of the others."""
    first = ", ".join(sorted(names)[:3]) or "none"
    return first + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def quiet() -> None:
    """Switches off the progress bar and the notes of transformers; its faults are found here instead."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _loaded(loader: Any, folder: Path, **options: Any) -> tuple[Any, set[str], set[str]]:
    """Returns a model, the names that it lacks in the checkpoint, and those that the checkpoint has besides."""
    quiet()
    options |= {"local_files_only": True, "weights_only": True, "output_loading_info": True, "dtype": torch.float32}
    options |= {"ignore_mismatched_sizes": True}  # so that they are named below
    try:
        model, found = loader.from_pretrained(folder, **options)
    except Exception as error:  # files of other people: any exception of their readers means that they are unusable
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "weights only load failed" in reason.lower():
            raise BackboneError(
                f"{folder}: its pickled weights hold more than tensors, which is not executed. Give them as safetensors."
            ) from error
        raise BackboneError(f"{folder}: cannot be loaded as {loader.__name__} ({reason}). {AGAIN}") from error
    for name, *shapes in sorted(found["mismatched_keys"]):
        there, wanted = map(tuple, shapes)
        raise BackboneError(
            f"{folder}: tensor {name} has shape {there}, and config.json needs {wanted}. They belong to different checkpoints."
        )
    return model, set(found["missing_keys"]), set(found["unexpected_keys"])
