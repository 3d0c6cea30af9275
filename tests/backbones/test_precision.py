"""The precision that a device gets."""

from __future__ import annotations

import pytest
import torch

from crosscue.backbones import precision
from crosscue.errors import BackboneError

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_the_format_that_the_cpu_computes_itself(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: native)
    assert precision.choose_precision("auto", CPU).name == ("bf16" if native else "fp32")
    assert precision.choose_precision("fp32", CPU).name == "fp32"


@pytest.mark.parametrize("native", [True, False])
def test_bf16_that_is_emulated_is_obeyed_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], native: bool
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: native)
    assert precision.choose_precision("bf16", CPU).name == "bf16"
    assert ("no native bf16" in capsys.readouterr().err) != native


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"there is no precision 'bf61'\. Did you mean 'bf16'"):
        precision.choose_precision("bf61", CPU)
