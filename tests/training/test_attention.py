"""The attention of a training step: plain products where the backward pass of the fused one is slow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.backends.cuda import flash_sdp_enabled
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

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


def test_plain_products_are_the_fused_attention_and_no_less_exact() -> None:
    """In float32 they are equal; in bf16 their gradients are as near to those of float32 as the fused ones."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(4, 3, 54, 16, generator=generator) for _ in range(3)]
    ramp = torch.arange(16).cos()

    def passed(dtype: torch.dtype, backend: SDPBackend) -> list[Tensor]:
        own = [part.to(dtype).requires_grad_() for part in parts]
        with sdpa_kernel(backend):
            read = scaled_dot_product_attention(*own)
        return [read, *torch.autograd.grad((read * ramp.to(dtype)).sum(), own)]

    exact = passed(torch.float32, SDPBackend.MATH)
    for one, other in zip(exact, passed(torch.float32, SDPBackend.FLASH_ATTENTION), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)

    def nearness(backend: SDPBackend) -> float:
        found = torch.cat([part.float().flatten() for part in passed(torch.bfloat16, backend)[1:]])
        return float(torch.cosine_similarity(found, torch.cat([part.flatten() for part in exact[1:]]), dim=0))

    assert nearness(SDPBackend.MATH) >= nearness(SDPBackend.FLASH_ATTENTION)
    assert nearness(SDPBackend.MATH) > 0.999
