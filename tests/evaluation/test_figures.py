"""Figures of the report: the points, marks and limits that are drawn, before they become SVG."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crosscue.evaluation import figures
from crosscue.evaluation.figures import (
    ShotsLine,
    calibration_curves,
    category_bars,
    curves,
    domain_bars,
    heat_maps,
    shots_curves,
)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions return the figure itself."""
    monkeypatch.setattr(figures, "_svg", lambda figure: figure)


def points(line: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def test_the_course_of_training_marks_the_chosen_epoch() -> None:
    history = [
        {"kind": "start", "step": 0, "loss": 9.0},
        {"kind": "train", "step": 1, "loss": 3.0},
        {"kind": "validation", "step": 1, "epoch": 0, "rsum": 50.0, "best_epoch": 0},
        {"kind": "train", "step": 2, "loss": 2.0},
        {"kind": "validation", "step": 2, "epoch": 1, "rsum": 70.0, "best_epoch": 1},
        {"kind": "validation", "step": 3, "epoch": 2},
        {"kind": "warning", "step": 3, "loss": 8.0},
    ]
    left, right = curves(history).axes
    training, chosen = left.lines
    assert points(training) == [(1, 3), (2, 2)]
    assert points(right.lines[0]) == [(1, 50), (2, 70)]
    assert list(chosen.get_xdata()) == [2, 2]
    assert chosen.get_label() == "chosen: epoch 1"
    (alone,) = curves(history[:2]).axes
    assert [points(line) for line in alone.lines] == [[(1, 3)]]
    unmarked = [{key: value for key, value in line.items() if key != "best_epoch"} for line in history]
    assert len(curves(unmarked).axes[0].lines) == 1
    assert curves(history[:1]) is None


def recalls(**by_category: tuple[float, float]) -> Any:
    found = {name: {"images": 3.0, "i2t_r1": a, "t2i_r1": b} for name, (a, b) in by_category.items()}
    return SimpleNamespace(categories=found)


def test_categories_are_ordered_by_their_gain_and_none_is_cut_off() -> None:
    before = recalls(cat=(0, 0), dog=(50, 30), bird=(90, 100), gone=(1, 1))
    (axis,) = category_bars(before, recalls(cat=(100, 100), dog=(60, 40), bird=(80, 90), new=(1, 1))).axes
    old, new = axis.collections
    np.testing.assert_allclose(old.get_offsets(), [(95, 0), (40, 1), (0, 2)])
    np.testing.assert_allclose(new.get_offsets(), [(85, 0), (50, 1), (100, 2)])
    assert old.get_sizes() == new.get_sizes()
    assert [label.get_text() for label in axis.get_yticklabels()] == ["bird (3)", "dog (3)", "cat (3)"]
    assert [points(line) for line in axis.lines] == [
        [(95, 0), (85, 0)],
        [(40, 1), (50, 1)],
        [(0, 2), (100, 2)],
    ]
    assert axis.get_xlim()[0] < 0 < 100 < axis.get_xlim()[1]
    assert axis.get_ylim()[0] < -0.5 < 2.5 < axis.get_ylim()[1]
    assert category_bars(recalls(cat=(1, 1)), recalls(cat=(2, 2))) is None


def test_of_many_categories_those_that_changed_most_are_drawn() -> None:
    before = recalls(**{f"c{number:02}": (0, 0) for number in range(50)})
    after = recalls(**{f"c{number:02}": (number, number) for number in range(50)})
    (axis,) = category_bars(before, after).axes
    names = [label.get_text()[:3] for label in axis.get_yticklabels()]
    assert names == [f"c{number:02}" for number in [*range(20), *range(30, 50)]]


def test_calibration_is_drawn_beside_the_diagonal() -> None:
    bins = [SimpleNamespace(uncertainty=0.0, error=0.25), SimpleNamespace(uncertainty=1.0, error=1.0)]
    found: Any = {"i2t": SimpleNamespace(bins=bins, auroc=0.754), "t2i": SimpleNamespace(bins=bins[:1], auroc=None)}
    (axis,) = calibration_curves(found).axes
    first, second, diagonal = axis.lines
    assert points(first) == [(0, 25), (1, 100)]
    assert points(second) == [(0, 25)]
    assert points(diagonal) == [(0, 0), (1, 100)]
    assert [first.get_label(), second.get_label()] == ["image to text, AUROC 0.75", "text to image"]
    assert axis.get_xlim()[0] < 0 < 1 < axis.get_xlim()[1]
    assert axis.get_ylim()[0] < 0 < 100 < axis.get_ylim()[1]
    (axis,) = calibration_curves({"t2i": found["t2i"]}).axes
    assert axis.lines[0].get_label() == "text to image"
    assert calibration_curves({}) is None


def test_shots_are_drawn_in_order_and_what_learns_nothing_is_a_level() -> None:
    lines = [ShotsLine("zero_shot", {0: 20.0}, None), ShotsLine("lora", {4: 30.0, 1: 25.0}, {1: 2.0, 4: 1.0})]
    found = shots_curves({"image to text": lines, "text to image": lines[:1]})
    first, second = found.axes
    assert first.get_position().x0 < second.get_position().x0
    level, measured = first.lines[0], first.lines[1]
    assert set(level.get_ydata()) == {20.0}
    assert points(measured) == [(1, 25), (4, 30)]
    bars = first.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bars, [[(1, 23), (1, 27)], [(4, 29), (4, 31)]])
    assert [axis.get_title() for axis in (first, second)] == ["image to text", "text to image"]


def test_bars_of_the_rows_stand_beside_each_other_around_their_domain() -> None:
    rows = {"zero-shot": [10.0, 20.0, None], "lora": [None, 25.0, 30.0]}
    figure = domain_bars(["pets", "cars", "food"], rows)
    (axis,) = figure.axes
    first, second = axis.containers
    bars = [[(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in group] for group in (first, second)]
    np.testing.assert_allclose(bars[0], [(-0.2, 10), (0.8, 20)])
    np.testing.assert_allclose(bars[1], [(1.2, 25), (2.2, 30)])
    assert [bar.get_width() for bar in first] == pytest.approx([0.4, 0.4])
    assert first[0].get_facecolor() != second[0].get_facecolor()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["pets", "cars", "food"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["zero-shot", "lora"]
    assert not figure.legends[0].get_frame_on()
    assert tuple(figure.get_size_inches()) == (6, 3.2)
    alone = domain_bars(["pets"] * 10, {"lora": [1.0] * 10})
    assert alone.get_figwidth() == 11
    assert alone.axes[0].containers[0][0].get_width() == pytest.approx(0.8)


def test_more_rows_than_colours_begin_the_colours_again() -> None:
    (axis,) = domain_bars(["pets"], {str(number): [1.0] for number in range(len(figures.COLOURS) + 1)}).axes
    colours = [group[0].get_facecolor() for group in axis.containers]
    assert len(set(colours)) == len(figures.COLOURS)
    assert colours[0] == colours[-1]


def test_a_map_has_a_number_in_each_place_that_can_be_read() -> None:
    panels = {"image to text": [[0.2, 0.4, 0.94]], "text to image": [[10.0, 20.0, 30.0]]}
    figure = heat_maps(panels, ("lambda1", ["0.8"]), ("lambda2", ["0.2", "0.4", "0.6"]))
    first, second = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in (first, second)] == list(panels)
    assert first.get_position().x0 < second.get_position().x0
    for axis, values in ((first, ["0.2", "0.4", "0.9"]), (second, ["10.0", "20.0", "30.0"])):
        assert [(text.get_text(), *text.get_position()) for text in axis.texts] == [
            (value, x, 0) for x, value in enumerate(values)
        ]
        assert [text.get_color() for text in axis.texts] == [figures.INK, figures.INK, "white"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["0.8"]
        assert [label.get_text() for label in axis.get_xticklabels()] == ["0.2", "0.4", "0.6"]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("lambda2", "lambda1")
