"""Rows of a batch in chunks: equal gradients in less memory, and nothing changes without chunks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from crosscue.backbones.protocol import ImageState, Prompts, TokenBatch
from crosscue.backbones.rows import WHOLE, Rows, divided, mapped
from crosscue.backbones.token_weights import TokenWeights
from crosscue.errors import TrainingError
from crosscue.testing import Case, tiny_backbone
from crosscue.training.config import TrainingConfig
from tests.grid import KNOWN
from tests.pairs import gradients, many_pairs


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dual_prompt", {"depth": 2}),
        ("dcar", {"context_tokens": 2, "category_width": 16}),
        ("filip", {"carrier": "full_ft", "global_weight": 0.5}),
        ("fineclip", {"carrier": "full_ft", "boxes": 1, "teacher_grad": True}),
        ("acke", {"acp": "pairwise", "weights": "pau", "pool_size": 6, "top_k": 2, "pairwise_negatives": 2}),
        ("lora", {}),
        ("full_ft", {}),
        ("action", {"knowledge": KNOWN, "visual_prompts": 2, "aim": "cat", "conditioning": "pairwise"}),
    ],
)
def test_chunks_have_the_gradients_of_the_batch(method: str, options: dict[str, Any]) -> None:
    backbone, case = tiny_backbone("clip"), Case(method, options)
    batch = many_pairs(backbone, 8 if method == "action" else 31)
    whole, loss = gradients(case, backbone, batch, WHOLE)
    chunks, same = gradients(case, backbone, batch, Rows(at_once=5))
    assert chunks.keys() == whole.keys()
    assert abs(loss - same) < 1e-5
    for name, gradient in whole.items():
        torch.testing.assert_close(chunks[name], gradient, rtol=0, atol=1e-5)


def test_chunks_in_bf16_use_the_attention_of_the_step() -> None:
    from crosscue.training.attention import attention_of_training

    backbone, case = tiny_backbone("clip", "bf16"), Case("dual_prompt")
    batch = many_pairs(backbone, 12)
    with attention_of_training(backbone):
        whole, _ = gradients(case, backbone, batch, WHOLE)
        chunks, _ = gradients(case, backbone, batch, Rows(at_once=5))
    one, other = (torch.cat([gradient.flatten() for gradient in found.values()]) for found in (whole, chunks))
    assert torch.cosine_similarity(one, other, dim=0) > 0.999


def test_chunks_run_as_many_rows_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone("clip")
    prompts, seen = Prompts.of([torch.zeros(2, backbone.image_width, requires_grad=True)]), []
    tower, pixels = backbone.image.forward, many_pairs(backbone, 11).images
    monkeypatch.setattr(backbone.image, "forward", lambda *given: seen.append(len(given[0])) or tower(*given))
    with divided(backbone, Rows(at_once=4)):
        features = backbone.encode_image(pixels, prompts)
        assert seen == [4, 4, 3]
        features.pooled.sum().backward()
        assert sorted(seen) == [3, 3, 4, 4, 4, 4]
        with torch.no_grad():
            assert len(backbone.encode_image(pixels, prompts)) == seen.pop() == 11


def test_whole_rows_cost_nothing() -> None:
    """The tower's own output comes back: there is no copy and no further node in the graph."""
    features, given = object(), []
    for call in (
        lambda encode: WHOLE.images(encode, torch.zeros(3), None),
        lambda encode: WHOLE.texts(encode, None, None, None),
        lambda encode: WHOLE.state(encode, torch.zeros(3), 1),
    ):
        assert call(lambda *inputs: given.append(inputs) or features) is features
    assert [len(inputs) for inputs in given] == [2, 3, 1]


def test_shared_prompts_stay_whole_and_rows_are_taken() -> None:
    def halved(rows: torch.Tensor) -> torch.Tensor:
        return rows[:2]

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    prompts = mapped(Prompts({0: torch.zeros(7, 8), 1: torch.zeros(1, 7, 8), 2: torch.zeros(4, 7, 8)}), halved, kept)
    assert [tuple(tensor.shape) for tensor in prompts.layers.values()] == [(7, 8), (1, 7, 8), (2, 7, 8)]
    tokens = mapped(TokenBatch(torch.zeros(4, 5), torch.zeros(4), torch.zeros(4, 5)), halved, kept)
    assert (len(tokens), len(tokens.lengths), len(tokens.content)) == (2, 2, 2)
    assert mapped(TokenWeights(torch.zeros(4, 5), "attention"), halved, kept).place == "attention"
    state = mapped(ImageState(torch.zeros(4, 5, 6), 3, entered=True), halved, kept)
    assert (len(state), state.layer, state.entered) == (2, 3, True)


def test_chunks_larger_than_a_batch_are_none() -> None:
    assert TrainingConfig(batch_size=8, rows_at_once=8).chunk is None
    assert TrainingConfig(batch_size=8, rows_at_once=7).chunk == 7
    with pytest.raises(TrainingError, match="rows_at_once is 0; it must be at least 1"):
        TrainingConfig(rows_at_once=0)
    assert "rows_at_once" not in TrainingConfig(rows_at_once=2).recorded()
