"""Limits of size: members of the contract of methods, and lines of a file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import crosscue
from crosscue.methods.contract import Method


def test_the_contract_of_methods_has_at_most_14_members() -> None:
    members = {**vars(Method), **Method.__annotations__}
    own = [name for name in members if not name.startswith("_") and not hasattr(nn.Module, name)]
    assert len(own) <= 14, own


def test_no_file_has_over_300_lines() -> None:
    package = Path(crosscue.__file__).parent
    lines = {str(path.relative_to(package)): len(path.read_text().splitlines()) for path in package.rglob("*.py")}
    assert not {name: count for name, count in lines.items() if count > 300}
