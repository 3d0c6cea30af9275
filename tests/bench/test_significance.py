"""Marks beside numbers, against a table worked out by hand; unequal steps are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crosscue.bench import significance
from crosscue.bench.cells import Spread
from crosscue.bench.grid import Claim
from crosscue.bench.running import require_equal_steps
from crosscue.bench.significance import BETTER, EQUAL, verdicts
from crosscue.errors import RunError
from tests.bench.cells import QUERIES, cell, first, with_captions


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


def test_a_difference_is_corrected_for_the_rows_of_its_column() -> None:
    """4 queries of 40 differ: a resample has none of them with probability 0.9 ** 40, so p is about 0.03, and twice that for two rows."""
    best, near, twin = (cell(label, first(count)) for label, count in (("best", 30), ("near", 26), ("twin", 26)))
    alone, both = verdicts([best, near]), verdicts([best, near, twin])
    raw = alone["near", "i2t", 1].difference.p
    assert raw == pytest.approx(2 * 0.9**40, abs=0.006)
    assert alone["near", "i2t", 1].p == raw
    assert alone["best", "i2t", 1].mark == BETTER
    for label in ("best", "near", "twin"):
        assert both[label, "i2t", 1].difference.p == raw
        assert both[label, "i2t", 1].p == 2 * raw
        assert both[label, "i2t", 1].mark == EQUAL


def test_the_captions_of_an_image_are_resampled_together() -> None:
    """The 5 captions of 1 image of 8 differ: a resample has none of them with probability (7 / 8) ** 8. Of 40 images it is 0.875 ** 40."""
    rows = [with_captions(cell(label, first(count)), 5) for label, count in (("best", 30), ("near", 25))]
    found = verdicts(rows)["near", "t2i", 1].difference
    assert found.p == pytest.approx(2 * (7 / 8) ** 8, abs=0.03)
    assert verdicts(rows)["near", "i2t", 1].difference.p == pytest.approx(2 * 0.875**40, abs=0.006)
    (claim,) = significance.tested([Claim("best over near", "best", "near")], rows)
    assert claim.differences["t2i"].p == found.p


def test_three_seeds_are_resampled_and_two_are_not() -> None:
    """Seeds that differ everywhere, everywhere and nowhere: 1 of 27 resamples draws the last one alone."""
    every, none = [True] * QUERIES, [False] * QUERIES
    three = verdicts([cell("mixed", every, every, none), cell("none", none, none, none)])["mixed", "t2i", 1]
    assert three.difference.mean == pytest.approx(200 / 3)
    assert (three.difference.low, three.difference.high) == (0.0, pytest.approx(100.0))
    assert three.difference.p == pytest.approx(2 / 27, abs=0.01)
    assert three.mark == EQUAL
    two = verdicts([cell("mixed", every, none), cell("none", none, none)])["mixed", "t2i", 1]
    assert two.difference.mean == two.difference.low == two.difference.high == pytest.approx(50)
    assert two.mark == BETTER


def test_rows_are_compared_seed_by_seed() -> None:
    one, other = cell("one", first(10), first(20), first(30)), cell("other", first(5), first(20), first(35))
    changes = one.minus(other, "i2t", 1)
    assert changes.shape == (3, QUERIES)
    assert changes.sum(1).tolist() == [5, 0, -5]
    untrained = replace(cell("CLIP", first(8)), trainings={})
    assert one.minus(untrained, "i2t", 1).sum(1).tolist() == [2, 12, 22]
    assert untrained.minus(one, "i2t", 1).sum(1).tolist() == [-2, -12, -22]
    del other.results[1]
    assert one.minus(other, "i2t", 1).sum(1).tolist() == [0, -5], "a seed that failed is left out"
    later = replace(other, results={4: other.results[2]})
    assert one.minus(later, "i2t", 1).sum(1) == pytest.approx([0])


def test_hits_are_averaged_over_seeds_query_by_query() -> None:
    both = cell("two seeds", first(10), first(30))
    expected = np.array([1.0] * 10 + [0.5] * 20 + [0.0] * 10)
    np.testing.assert_array_equal(both.hits("i2t", 1), expected)
    assert both.recall("i2t", 1) == Spread(50.0, pytest.approx(np.std([25, 75], ddof=1)))


def test_unequal_steps_are_refused() -> None:
    require_equal_steps([cell("a", first(1)), cell("b", first(2))])
    with pytest.raises(RunError, match="'a' took 10 optimiser steps and 'b' 11"):
        require_equal_steps([cell("a", first(1)), cell("b", first(2), steps=11)])
