"""Progress as a person sees it: a line in the first second, the loss and the validations."""

from __future__ import annotations

import io
import re

import pytest

from crosscue import progress as bars
from crosscue.training.seen import Seen


def test_progress_contains_the_loss_the_last_validation_and_the_best() -> None:
    seen = Seen()
    assert seen.text() == ""
    seen.validated(200.0, 0)
    seen.stepped(2.0)
    seen.stepped(1.0)
    assert seen.text() == "loss 1.900, validation Rsum 200.0 (epoch 0), best 200.0"
    seen.validated(260.0, 1)
    seen.validated(250.0, 2)
    assert seen.text().endswith("validation Rsum 250.0 (epoch 2), best 260.0")
    assert Seen(best=270.0).text() == "best 270.0"  # of a continued run


def test_a_log_gets_its_first_line_within_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    with bars.progress("encoding images", 1000, "images", lambda: "loss 1.5") as advance:
        for _ in range(250):
            now += 0.1
            advance(4)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # the first, one 20 seconds later, one at the end
    assert lines[0] == "encoding images: 36/1,000 images, 40.0 images/s, 24 s left, loss 1.5"


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_bars_stand_below_each_other_with_a_note_on_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    with bars.progress("training", 4, "steps", lambda: "loss 1.5, validation Rsum 200.0 (epoch 0)") as step:
        step(2)
        opened = bars._bars
        with bars.progress("encoding images", 10, "images") as image:
            image(10)
            assert bars._bars is opened
            assert opened is not None
            assert [task.description for task in opened.tasks] == ["training", "encoding images"]
        assert [task.description for task in opened.tasks] == ["training"]
        step(2)
    assert bars._bars is None
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    assert "  loss 1.5, validation Rsum 200.0 (epoch 0)" in [line.rstrip() for line in lines]
    assert any("training" in line and "4/4" in line and "steps/s" in line for line in lines)
