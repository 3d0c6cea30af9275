"""Every method keeps the contract on every backbone family."""

from __future__ import annotations

import pytest

from crosscue.methods.registry import METHODS
from crosscue.testing import Check
from tests.grid import CASES, contract_grid


def test_every_registered_method_is_in_the_grid() -> None:
    assert {case.method for case in CASES} == set(METHODS)


@pytest.mark.parametrize("check", contract_grid(CASES))
def test_contract(check: Check) -> None:
    check()
