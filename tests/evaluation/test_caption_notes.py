"""Notes on captions: words by weight, triplets, and both on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.pixels import PixelStore
from crosscue.evaluation.caption_notes import caption_notes
from crosscue.evaluation.comparison import compare
from crosscue.evaluation.measuring import evaluate
from crosscue.evaluation.report import Extras, write_report
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.registry import build
from crosscue.retrieval.options import Inference
from tests.images import draw_noise
from tests.tiny import tiny_backbones

TEXTS = ("a red thing", "two dogs on a black cat", "the blue dog is grey", "a pink cat")


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    for index in range(4):
        draw_noise(tmp_path / f"{index}.png", index)
    return Pairs([Pair(ImageFile(tmp_path / f"{i}.png"), (text,), str(i)) for i, text in enumerate(TEXTS)], "four")


def built(name: str, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return build(name, tiny_backbones["clip"](), options).eval()


def page(method: Any, pairs: Pairs, folder: Path) -> str:
    before, after = (
        evaluate(one, pairs, PixelStore(pairs.images, one.backbone.pixels, cache=False), Inference(diagnostics=0))
        for one in (built("zero_shot"), method)
    )
    extras = Extras(notes=caption_notes(method, pairs))
    return write_report(folder, compare(before, after), pairs, extras).read_text(encoding="utf-8")


def test_the_words_of_a_caption_weigh_as_its_tokens_do(pairs: Pairs, tmp_path: Path) -> None:
    method = built("dcar", context_tokens=2)
    notes = caption_notes(method, pairs)
    assert notes is not None
    first, other, again = notes([(1, 1), (1, 2), (1, 1)])
    assert [word for word, _ in first.words] == TEXTS[1].split()
    assert first == again
    assert first != other, "the weights depend on the image"
    pixels = PixelStore(pairs.images, method.backbone.pixels, cache=False)
    with torch.no_grad():
        tokens, feature = method.tokenize(TEXTS[1:2]), method.pair_features(pixels[[1]])
        rho = method.token_weights(TEXTS[1:2], tokens, feature, method.blank_feature())[0][tokens.content[0]]
    pieces = [method.backbone.token_count(word) for word in TEXTS[1].split()]
    means = [float(part.mean()) for part in rho.split(pieces)]
    assert [weight for _, weight in first.words] == pytest.approx(means, abs=1e-5)
    assert 'title="weight ' in page(method, pairs, tmp_path / "report")


def test_triplets_stand_beside_captions(pairs: Pairs, tmp_path: Path) -> None:
    triplets = (Triplet("dogs", "standing on", "cat"), Triplet("dog", "sleeping"))
    known = {text: CaptionKnowledge(triplets, ("four paws", "eyes <closed>"), "test") for text in TEXTS}
    ActionKnowledge(known).save(tmp_path / "known.jsonl")
    method = built(
        "action", 1, knowledge=str(tmp_path / "known.jsonl"), visual_prompts=2, deep_start=1, adapter_width=8
    )
    method.require(TEXTS)
    notes = caption_notes(method, pairs)
    assert notes is not None
    (note,) = notes([(0, 0)])
    assert note.triplets == ("(dogs, standing on, cat): four paws", "(dog, sleeping): eyes <closed>")
    assert note.words == ()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    html = page(method, pairs, tmp_path / "report")
    assert "(dog, sleeping): eyes &lt;closed&gt;" in html


def test_other_methods_have_none(pairs: Pairs, tmp_path: Path) -> None:
    assert caption_notes(built("zero_shot"), pairs) is None
    assert caption_notes(built("dcar", tw=False), pairs) is None
    assert "The darker a word" not in page(built("dual_prompt", 1), pairs, tmp_path / "report")
