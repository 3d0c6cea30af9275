"""Checkpoints on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from crosscue.errors import BackboneError, NetworkError

FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
PICKLED = "*pytorch_model*.bin"
"""Weights of a repository without safetensors. Only their tensors are read, so nothing in them is executed."""
IGNORED = ["open_clip_*.safetensors", "open_clip_*.bin"]
"""The same weights once more, in a form that is not read here."""


def fetch_from_hub(name: str, revision: str | None) -> Path:
    """Downloads the files of a checkpoint (or finds them in the Hub's cache) and returns their folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if Path(name).parent.is_dir() and revision is None:
        raise BackboneError(
            f"there is no folder '{name}', and '{Path(name).parent}' is one. Check the path; as an id of the Hub: {name}@main"
        )

    def fetched(*patterns: str) -> Path:
        wanted = list(patterns)
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=IGNORED, etag_timeout=5)
        )

    try:
        folder = fetched(*FILES)
        if not any(folder.rglob("*.safetensors")):
            folder = fetched(*FILES, PICKLED)
        return folder
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise BackboneError(
            f"there is no folder '{name}', and the Hub has no model of that name{f' at {revision}' if revision else ''}. "
            "Check the path or the name."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise NetworkError(
            f"there is no folder '{name}'; as an id, it is not in the local Hub cache and the Hub cannot be reached. "
            "Connect, or give a local folder, or use the backbone 'starter', which comes from the Python package index."
        ) from error
