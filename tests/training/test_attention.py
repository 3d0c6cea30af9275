"""The attention of a training step: plain products where the backward pass of the fused one is slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.backends.cuda import flash_sdp_enabled

import crosscue
from crosscue.methods.dual_prompt import DualPrompt
from tests import tiny
from tests.training.runs import config


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_attention_is_fused_in_fp32_alone(folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag of torch is the one of all devices, the CPU among them; outside of training it is on."""
    fused = []
    losses = DualPrompt.losses
    monkeypatch.setattr(DualPrompt, "losses", lambda *given: (fused.append(flash_sdp_enabled()), losses(*given))[1])
    crosscue.adapt(
        folder,
        "dual_prompt",
        str(tiny.clip_folder()),
        out=folder / precision,
        training=config(epochs=1),
        precision=precision,
        device="cpu",
    )
    assert set(fused) == {precision == "fp32"}
    assert flash_sdp_enabled()
