"""Limits of size: members of the contract of methods."""

from __future__ import annotations

from torch import nn

from crosscue.methods.contract import Method


def test_the_contract_of_methods_has_at_most_14_members() -> None:
    members = {**vars(Method), **Method.__annotations__}
    own = [name for name in members if not name.startswith("_") and not hasattr(nn.Module, name)]
    assert len(own) <= 14, own
