"""Marks beside numbers, against a table worked out by hand; unequal steps are refused."""

from __future__ import annotations

import numpy as np
import pytest

from crosscue.bench.cells import Spread
from crosscue.bench.running import require_equal_steps
from crosscue.bench.significance import BETTER, EQUAL, verdicts
from crosscue.errors import RunError
from tests.bench.cells import cell, first


def test_marks_of_a_table_worked_out_by_hand() -> None:
    """30 and 28 of 40 found (two seeds): 2 queries of 40 differ, which chance explains; 15 and 15 of 40: it does not."""
    cells = [cell("best", first(30), first(30)), cell("near", first(28), first(28)), cell("far", first(15), first(15))]
    found = verdicts(cells)
    assert {label: found[label, "i2t", 1].mark for label in ("best", "near", "far")} == {
        "best": EQUAL,
        "near": EQUAL,
        "far": "",
    }
    assert found["best", "i2t", 1].against == "near"
    assert found["best", "i2t", 1].difference.mean == pytest.approx(100 * 2 / 40)
    assert found["far", "t2i", 1].against == "best"
    assert found["far", "t2i", 1].difference.mean == pytest.approx(-100 * 15 / 40)

    alone = verdicts([cells[0], cells[2]])
    assert alone["best", "i2t", 1].mark == BETTER
    assert alone["far", "i2t", 1].mark == ""
    assert verdicts(cells[:1]) == {}


def test_hits_are_averaged_over_seeds_query_by_query() -> None:
    both = cell("two seeds", first(10), first(30))
    expected = np.array([1.0] * 10 + [0.5] * 20 + [0.0] * 10)
    np.testing.assert_array_equal(both.hits("i2t", 1), expected)
    assert both.recall("i2t", 1) == Spread(50.0, pytest.approx(np.std([25, 75], ddof=1)))


def test_unequal_steps_are_refused() -> None:
    require_equal_steps([cell("a", first(1)), cell("b", first(2))])
    with pytest.raises(RunError, match="'a' took 10 optimiser steps and 'b' 11"):
        require_equal_steps([cell("a", first(1)), cell("b", first(2), steps=11)])
