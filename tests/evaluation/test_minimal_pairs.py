"""Minimal pairs: the right caption against an edited one, asked as in retrieval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from crosscue.api import Run
from crosscue.data.pairs import ImageFile, Negative, Pair, Pairs
from crosscue.data.pixels import PixelStore
from crosscue.errors import DataError
from crosscue.evaluation.inference import Inference
from crosscue.evaluation.minimal_pairs import Contests, preferences
from crosscue.methods.late_interaction import LateInteraction
from crosscue.methods.registry import build
from tests.tiny import tiny_backbones

EDITS = (Negative("a man is riding a cow", "category"), Negative("a man is feeding a horse", "attribute"))


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    made = []
    for index in range(4):
        values = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{index}.png")
        captions = (f"a man is riding a horse {index}", f"a rider {index}") if index else ("a man is riding a horse",)
        negatives = EDITS if index % 2 else EDITS[:1]
        made.append(Pair(ImageFile(tmp_path / f"{index}.png"), captions, str(index), "horse", negatives))
    return Pairs(made, "riders")


def test_every_caption_meets_every_edit_of_its_picture(pairs: Pairs) -> None:
    contests = Contests.of(pairs)
    assert contests.picture.tolist() == [0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    for number, (right, wrong) in zip(contests.picture.tolist(), contests.choice.tolist(), strict=True):
        assert contests.sentences[right] in pairs[number].captions
        assert contests.sentences[wrong] in [negative.text for negative in pairs[number].negatives]
    assert contests.kinds[0] == ("all", "category", "horse")


def test_a_tie_is_half_a_win(pairs: Pairs) -> None:
    contests = Contests.of(pairs)
    ahead = torch.tensor([1.0, 1, 0, -1, 1, 1, 0, 1, -1, 1, 1])
    found = contests.decide(torch.stack([ahead, torch.zeros(11)], 1))
    assert found["all"]["preferred"] == pytest.approx(100 * (7 + 2 / 2) / 11)
    assert found["all"]["pairs"] == 11
    of_attributes = [place for place, kinds in enumerate(contests.kinds) if "attribute" in kinds]
    assert found["attribute"]["pairs"] == len(of_attributes) == 4
    assert found["attribute"]["preferred"] == pytest.approx(50 * float((ahead[of_attributes].sign() + 1).mean()))
    assert found["all"]["low"] <= found["all"]["preferred"] <= found["all"]["high"]


def test_an_edit_that_changes_nothing_is_a_tie(pairs: Pairs) -> None:
    same = Pairs([Pair(p.image, p.captions[:1], p.image_id, None, (Negative(p.captions[0]),)) for p in pairs], "same")
    backbone = tiny_backbones["clip"]()
    found = preferences(build("zero_shot", backbone), same, PixelStore(same, backbone.pixels.size, cache=False))
    assert found["all"]["preferred"] == found["all"]["low"] == 50


@pytest.mark.parametrize(
    ("name", "mode"),
    [("dual_prompt", "plain"), ("filip", None), ("action", "pooled"), ("action", "pairwise"), ("acke", "pairwise")],
)
def test_pictures_choose_as_they_do_in_retrieval(pairs: Pairs, name: str, mode: str | None) -> None:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    options = {"acp": "pairwise"} if name == "acke" else {"aim_residual": "plain"} if name == "action" else {}
    method = build(name, backbone, options)
    method.eval()
    images = PixelStore(pairs, backbone.pixels.size, cache=False)
    asked: list[Tensor] = []
    contests = Contests.of(pairs)

    class Watched(Contests):
        def decide(self, scores: Tensor) -> dict[str, dict[str, float]]:
            asked.append(scores)
            return super().decide(scores)

    watched = Watched(contests.sentences, contests.picture, contests.choice, contests.kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contests, "of", classmethod(lambda cls, _: watched))
        preferences(method, pairs, images, Inference(mode))
    for place, (number, choice) in enumerate(zip(contests.picture.tolist(), contests.choice.tolist(), strict=True)):
        sentences = [contests.sentences[one] for one in choice]
        expected = by_hand(method, images[[number]], sentences, mode)
        torch.testing.assert_close(asked[0][place], expected, atol=2e-5, rtol=0)


@torch.no_grad()
def by_hand(method: object, image: Tensor, sentences: list[str], mode: str | None) -> Tensor:
    """One picture, two sentences -> (2,) scores."""
    if isinstance(method, LateInteraction):
        picture = method.image_tokens(image)
        return torch.stack([method.token_scores(picture, method.text_tokens([one]))[0][0, 0] for one in sentences])
    picture, texts = method.encode_image(image), method.encode_text(sentences)
    plain = (picture @ texts.T)[0]
    if mode == "plain":
        return plain
    if not method.reads_with_sentences:
        return method.pair_scores(method.pair_features(image).expand(2, -1), plain, sentences)
    if mode == "pooled":
        return method.scores_given_texts(image, [sentences], texts[None], plain[None])[0]
    return torch.cat(
        [
            method.scores_given_texts(image, [[one]], texts[None, [number]], plain[None, [number]])[0]
            for number, one in enumerate(sentences)
        ]
    )


def test_a_source_without_edits_is_told_so(pairs: Pairs) -> None:
    bare = Pairs([Pair(pair.image, pair.captions, pair.image_id) for pair in pairs], "bare")
    with pytest.raises(DataError, match="bare: no picture has edited captions"):
        Run(build("zero_shot", tiny_backbones["clip"]())).evaluate(bare, Inference(minimal_pairs=True))
