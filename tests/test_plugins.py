"""Plug-ins of installed packages, the broken ones among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscue.plugins import failure, loaded, plugged


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crosscue.trial]\nbad = extra_bad:thing\ngood = extra_good:thing\n")
    (tmp_path / "extra_good.py").write_text("thing = 7\n")
    (tmp_path / "extra_bad.py").write_text("raise RuntimeError('no\\nlicence')\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_broken_plug_in_is_named_once_and_the_rest_works(installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    points = plugged("crosscue.trial")
    assert [loaded(points[name]) for name in ("bad", "good", "bad")] == [None, 7, None]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "'bad' of extra" in warnings[0]
    assert "RuntimeError: no licence" in str(failure(points["bad"]))


def test_a_group_without_plug_ins_is_empty() -> None:
    assert plugged("crosscue.nothing") == {}
