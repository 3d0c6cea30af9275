"""The grids that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from crosscue.errors import RunError, suggestion

GRIDS = Path(__file__).parent / "grids"


def named_grids() -> dict[str, Path]:
    """Returns name -> YAML file."""
    return {path.stem: path for path in sorted(GRIDS.glob("*.yaml"))}


def grid_file(name: str) -> Path:
    """Returns the YAML file of a grid: one that comes with the package, or the user's own.

    Raises:
        RunError: neither.
    """
    known = named_grids()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise RunError(f"{path}: there is no such file. Give a grid's YAML file, or one of: {', '.join(known)}.")
    raise RunError(f"there is no grid '{name}'.{suggestion(name, known)}")
