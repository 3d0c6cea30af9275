"""Every method keeps the contract on every backbone family."""

from __future__ import annotations

import pytest
from torch import nn

from crosscue.methods.contract import Method
from crosscue.methods.registry import METHODS
from crosscue.testing import Check
from tests.grid import CASES, contract_grid


def test_every_registered_method_is_in_the_grid() -> None:
    assert {case.method for case in CASES} == set(METHODS)


def test_the_contract_is_small() -> None:
    """At most 14 members beside those of nn.Module; what only some methods have is a capability."""
    own = {name for name in (*vars(Method), *Method.__annotations__) if not name.startswith("_")} - set(dir(nn.Module))
    assert len(own) <= 14, sorted(own)


@pytest.mark.parametrize("check", contract_grid(CASES))
def test_contract(check: Check) -> None:
    check()
