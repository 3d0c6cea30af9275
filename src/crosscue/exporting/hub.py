"""A run folder or an export as a repository in the layout of the Hugging Face Hub, on the Hub or in a local folder.

A repository holds the files of the folder, its card, and `crosscue_files.json` with the SHA-256 of each. Nothing pickled is pushed or
pulled, and a pulled file whose content differs from its hash is refused.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from crosscue.encoding.export_folder import is_export
from crosscue.errors import CrosscueError, NetworkError, OptionError, RunError
from crosscue.storage import atomic_folder, read_json, sha256_file, write_json

MANIFEST = "crosscue_files.json"
"""Path -> SHA-256 of every other file of a repository."""
RUN_FILES = (
    "README.md",
    "adapter.safetensors",
    "backbone.json",
    "bank.safetensors",
    "calibration.json",
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "pairs.json",
)
"""Files of a run folder that are pushed. The report contains the user's images, and checkpoints only serve to resume."""
SAFE = (".data", ".json", ".jsonl", ".md", ".onnx", ".safetensors", ".yaml")
"""Kinds of files that are pulled; none of them can execute anything."""


def push(folder: Path, target: str, *, private: bool = True, endpoint: str | None = None) -> str:
    """Writes a finished run folder or an export to a repository, and returns its address.

    Args:
        folder: the run folder or export.
        target: id of a repository on the Hub, such as `me/birds`; or a local folder, as a path such as `./birds`.
        private: a new repository on the Hub is private.
        endpoint: address of the Hub; default the public one.

    Raises:
        RunError: neither a finished run folder nor an export.
        NetworkError: the Hub cannot be reached, or does not permit it.
    """
    files = kept_files(folder)
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name)
        for file in files:
            (stage / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, stage / file)
        write_json(stage / MANIFEST, {file: sha256_file(stage / file) for file in files})
        if is_local(target):
            return str(pushed_locally(stage, Path(target).expanduser()))
        with hub_errors(target):
            from huggingface_hub import HfApi

            hub = HfApi(endpoint=endpoint)
            hub.create_repo(target, private=private, exist_ok=True)
            hub.upload_folder(repo_id=target, folder_path=stage, commit_message="Add the files of crosscue")
            return f"{hub.endpoint}/{target}"


def pull(source: str, out: Path, *, endpoint: str | None = None) -> Path:
    """Copies a repository that `push` wrote to a new folder, and returns that.

    Args:
        source: id of a repository on the Hub, with `@revision` where it is not the newest; or a local folder.
        out: a folder that does not exist or is empty.
        endpoint: address of the Hub; default the public one.

    Raises:
        RunError: `out` is not empty, the repository is not one of crosscue, or a file differs from its hash.
        NetworkError: the Hub cannot be reached, or has no such repository.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: not empty. Choose another --out.")
    fetch = from_folder(Path(source).expanduser()) if is_local(source) else from_hub(source, endpoint)
    with atomic_folder(out) as part:
        manifest = read_manifest(fetch(MANIFEST), source)
        for file, wanted in manifest.items():
            target = part / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fetch(file), target)
            if sha256_file(target) != wanted:
                raise RunError(f"{source}: the content of {file} is not that which was pushed. Push the folder again.")
        kept_files(part)
    return out


def kept_files(folder: Path) -> list[str]:
    """Returns the files of a finished run folder or an export that a repository holds.

    Raises:
        RunError: it is neither.
    """
    if is_export(folder):
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if path.suffix in SAFE and not path.name.startswith("."))
    from crosscue.training.runs import configured_method, read_backbone  # with torch, which an export needs not

    configured_method(folder)
    read_backbone(folder)
    if not (folder / "adapter.safetensors").exists():
        raise RunError(
            f"{folder}: the run is not finished. Finish it: crosscue adapt --config {folder}/config.yaml --out {folder} --resume"
        )
    return [name for name in RUN_FILES if (folder / name).exists()]


def is_local(name: str) -> bool:
    """Returns True if a name is a path: it begins like one, or is a folder."""
    return name.startswith((".", "/", "~")) or Path(name).is_dir()


def pushed_locally(stage: Path, target: Path) -> Path:
    """Copies the files to a local repository; only an earlier push is replaced."""
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).exists():
        raise RunError(f"{target}: not empty, and no repository of crosscue. Choose another folder.")
    with atomic_folder(target) as part:
        shutil.copytree(stage, part, dirs_exist_ok=True)
    return target


def read_manifest(path: Path, source: str) -> dict[str, str]:
    """Returns path -> SHA-256.

    Raises:
        RunError: it is damaged, or names a file that is not safe to write.
    """
    content = read_json(path, RunError, "Push the folder again.")
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise RunError(f"{source}: {MANIFEST} is not as written by crosscue. Push the folder again.")
    for file in content:
        pure = PurePosixPath(file)
        if pure.is_absolute() or ".." in pure.parts or "\\" in file or pure.suffix not in SAFE:
            raise RunError(
                f"{source}: {MANIFEST} names '{file}', which crosscue does not pull. Do not trust this source."
            )
    return content


def from_folder(folder: Path) -> Callable[[str], Path]:
    """Returns what finds a file of a local repository."""

    def fetch(file: str) -> Path:
        if not (folder / file).is_file():
            raise RunError(f"{folder}: there is no {file}, so this is no whole repository of crosscue. Push it again.")
        return folder / file

    return fetch


def from_hub(source: str, endpoint: str | None) -> Callable[[str], Path]:
    """Returns what downloads a file of a repository on the Hub, or finds it in the Hub's cache."""
    name, _, revision = source.partition("@")

    def fetch(file: str) -> Path:
        from huggingface_hub import hf_hub_download

        with hub_errors(source):
            return Path(hf_hub_download(name, file, revision=revision or None, endpoint=endpoint))

    return fetch


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turns the refusals of the Hub into errors of one line."""
    from huggingface_hub import errors

    client: Any = errors  # the base of its own errors is that of its HTTP client
    try:
        yield
    except errors.HFValidationError as error:
        raise OptionError(
            f"'{name}' is no id of a repository. Give one such as me/birds, or a path such as ./birds."
        ) from error
    except errors.EntryNotFoundError as error:
        raise RunError(
            f"{name}: there is no {MANIFEST}, so this is no repository of crosscue. Check the name."
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NetworkError(
            f"the Hub has no '{name}' that you may read or write. Check the name, or log in: hf auth login"
        ) from error
    except CrosscueError:
        raise
    except (client.HTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise NetworkError(
            f"{name}: the Hub refuses or cannot be reached ({first_line(error)}). Log in: hf auth login"
        ) from error


def first_line(error: Any) -> str:
    """Returns the first line of a message."""
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
