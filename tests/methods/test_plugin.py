"""Methods of other installed packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from crosscue.cli import dispatch
from crosscue.errors import CrosscueError, MethodError
from crosscue.methods.registry import build, method_class
from tests.tiny import tiny_backbones

MODULE = """
from crosscue.methods.zero_shot import ZeroShot

class Mirrored(ZeroShot):
    name = "mirrored"
    summary = "The backbone with its image features negated."

    def image_features(self, images):
        return -super().image_features(images)
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "mirrors-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mirrors\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(
        "[crosscue.methods]\nmirrored = mirrors:Mirrored\nshattered = mirrors_broken:Shattered\n"
    )
    (tmp_path / "mirrors.py").write_text(MODULE)
    (tmp_path / "mirrors_broken.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_method_of_a_plug_in_encodes(plug_in: None) -> None:
    backbone = tiny_backbones["clip"]()
    side = backbone.pixels.size
    images = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    with torch.no_grad():
        expected = -build("zero_shot", backbone).encode_image(images)
        assert torch.equal(build("mirrored", backbone).encode_image(images), expected)


def test_a_broken_plug_in_is_listed_with_its_reason(plug_in: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["methods", "--json"]) == 0
    listed = {method["name"]: method for method in json.loads(capsys.readouterr().out)}
    assert listed["mirrored"]["summary"].startswith("The backbone")
    assert "no_such_package" in listed["shattered"]["error"]
    assert "dual_prompt" in listed
    with pytest.raises(CrosscueError, match=r"plug-in 'shattered' of mirrors .*ModuleNotFoundError"):
        method_class("shattered")


def test_unknown_methods_are_answered_with_those_of_plug_ins(plug_in: None) -> None:
    with pytest.raises(MethodError, match="Did you mean 'mirrored'"):
        method_class("miror")
