"""Checks that a method keeps the contract, for methods of other packages too.

A test module of three lines gives a method all of them:

    import pytest
    from crosscue.testing import Case, contract_checks
    from my_package import MyMethod

    @pytest.mark.parametrize("check", contract_checks(Case(MyMethod, {"width": 8})), ids=str)
    def test_my_method_keeps_the_contract(check):
        check()

The checks run on tiny backbones of every family, which are made on first use; nothing is downloaded.
They need no test runner: `for check in contract_checks(Case(MyMethod)): check()` raises at the first broken promise.
The id of a check is `PROMISE-METHOD-OPTIONS-on_FAMILY`, so `pytest -k "reloads and on_clip"` selects some of them.
"""

from crosscue.testing.backbones import FAMILIES, tiny_backbone
from crosscue.testing.contract import Case, Check, contract_checks
from crosscue.testing.steps import eight_pairs, embeddings, similarity, step

__all__ = [
    "FAMILIES",
    "Case",
    "Check",
    "contract_checks",
    "eight_pairs",
    "embeddings",
    "similarity",
    "step",
    "tiny_backbone",
]
