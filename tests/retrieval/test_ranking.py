"""`Run.rank` against evaluation: the same order on the same pairs, whatever a method compares by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import DataError, MethodError
from crosscue.evaluation.result import Retrieval
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.registry import build
from crosscue.retrieval.bank import Bank, save_banks
from crosscue.retrieval.options import Inference
from crosscue.retrieval.scores import Cosines
from crosscue.run import Run
from crosscue.training.provenance import Provenance
from tests.images import draw_noise
from tests.tiny import tiny_backbones

COLOURS = ["red", "green", "blue", "white", "black", "yellow"]
N, PER = 6, 2
ACKE = {"acp": "pairwise", "pool_size": 6, "top_k": 2, "projector_width": 16, "eta": 0.9}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cosine": ("dual_prompt", {"context_tokens": 2}, {}),
    "other text mode": ("dcar", {"context_tokens": 2, "category_width": 16}, {"mode": "prior"}),
    "dcar": ("dcar", {"context_tokens": 2, "ca": False, "eta": 0.9}, {"rerank": True, "top": 4}),
    "acke": ("acke", ACKE, {"rerank": True, "top": 4}),
    "filip": ("filip", {"context_tokens": 2}, {}),
    "action": ("action", {}, {"top": 4}),
    "action, pair by pair": ("action", {}, {"pooled": False, "preselect": "tuned", "top": 100}),
    "pooled features": ("linear_probe", {}, {}),
}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pairs:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    made = []
    for index, colour in enumerate(COLOURS):
        texts = (f"a {colour} thing", f"two {colour} things on the {index}")
        draw_noise(tmp_path / f"{index}.png", index)
        made.append(Pair(ImageFile(tmp_path / f"{index}.png"), texts, str(index), colour, split="test"))
    return Pairs(made, "colours")


def run_of(name: str, options: dict[str, Any], pairs: Pairs, folder: Path) -> Run:
    if name == "action":
        known = {
            caption: CaptionKnowledge((Triplet("thing", "is", caption.split()[1], "attribute"),), (caption[::-1],), "t")
            for caption in pairs.captions
        }
        ActionKnowledge(known).save(folder / "known.jsonl")
        options = {"knowledge": str(folder / "known.jsonl"), "aim_layer": 1, "deep_start": 2, "visual_prompts": 2}
    torch.manual_seed(0)
    method = build(name, tiny_backbones["clip"](), options)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)  # an untrained method may equal its backbone
    Provenance([], []).save(folder)
    return Run(method.eval(), folder)


def files(pairs: Pairs) -> list[Path]:
    return [image.path for image in pairs.images if isinstance(image, ImageFile)]


def require_equal_order(
    run: Run, pairs: Pairs, result: Retrieval, inference: Inference, bank: Pairs | None = None
) -> None:
    """Compares every rank of an evaluation with the position in `Run.rank`."""
    images, owner = files(pairs), np.array(pairs.caption_owner)
    for caption, text in enumerate(pairs.captions):
        found = [one.index for one in run.rank(text, images, len(images), inference, bank)]
        ranks, place = result.ranks["t2i"], found.index(owner[caption])
        assert 0 <= place - ranks.better[caption] < ranks.tied[caption], text
    for image, path in enumerate(images):
        found = [one.index for one in run.rank(path, pairs.captions, len(owner), inference, bank)]
        ranks = result.ranks["i2t"]
        place = min(found.index(caption) for caption in np.flatnonzero(owner == image))
        assert 0 <= place - ranks.better[image] < ranks.tied[image], path


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_equal_those_of_evaluation(kind: str, pairs: Pairs, tmp_path: Path) -> None:
    name, options, chosen = KINDS[kind]
    run, inference = run_of(name, options, pairs, tmp_path), Inference(diagnostics=0, **chosen)
    result = run.evaluate(pairs, inference)
    require_equal_order(run, pairs, result, inference)
    again = inference.of(run.method).rerank
    assert again == ("re-ranking" in result.protocol)
    found = run.rank("a red thing", files(pairs), N, inference)
    assert [one.reranked for one in found] == [bool(again) and place < inference.top for place in range(N)]
    for group in (True, False):
        scores = [one.score for one in found if one.reranked is group]
        assert scores == sorted(scores, reverse=True)
    if again:
        plain = run.evaluate(pairs, Inference(rerank=False))
        assert any((plain.ranks[d].better != result.ranks[d].better).any() for d in plain.ranks), (
            "nothing was re-ranked"
        )


def test_knowledge_that_is_named_replaces_that_of_the_run(pairs: Pairs, tmp_path: Path) -> None:
    run = run_of("action", {}, pairs, tmp_path)
    other = {
        caption: CaptionKnowledge((Triplet("thing", "eats", caption.split()[-1], "action"),), (caption[2:],), "t")
        for caption in pairs.captions
    }
    ActionKnowledge(other).save(tmp_path / "other.jsonl")
    usual, named = Inference(diagnostics=0), Inference(diagnostics=0, knowledge=str(tmp_path / "other.jsonl"))
    text, images = pairs.captions[3], files(pairs)
    found = [{one.index: one.score for one in run.rank(text, images, N, chosen)} for chosen in (named, usual)]
    assert all(found[0][image] != pytest.approx(found[1][image], abs=1e-4) for image in range(N))
    require_equal_order(run, pairs, run.evaluate(pairs, named), named)
    with pytest.raises(DataError, match="crosscue describe triplets"):
        run.rank("an unknown thing", images, N, named)


def test_the_number_returned_does_not_change_what_is_re_ranked(pairs: Pairs, tmp_path: Path) -> None:
    run = run_of("dcar", {"context_tokens": 2, "ca": False, "eta": 0.9}, pairs, tmp_path)
    for query, candidates in ((pairs.captions[3], files(pairs)), (files(pairs)[2], pairs.captions)):
        every = run.rank(query, candidates, inference={"rerank": True, "top": 5})
        plain = [one.index for one in run.rank(query, candidates)]
        assert [one.index for one in every[:5]] != plain[:5], "nothing was re-ranked"
        for top in (1, 2, 4):
            found = run.rank(query, candidates, top, {"rerank": True, "top": 5})
            assert [(one.index, one.reranked) for one in found] == [(one.index, True) for one in every[:top]]


@pytest.mark.parametrize("mode", ["bank", "dynamic", "dual_dynamic"])
def test_the_bank_of_the_run_corrects_the_scores(mode: Any, pairs: Pairs, tmp_path: Path) -> None:
    run = run_of("dual_prompt", {"context_tokens": 2}, pairs, tmp_path)
    generator = torch.Generator().manual_seed(5)
    hubs = torch.nn.functional.normalize(torch.randn(2, 9, run.method.backbone.embed_dim, generator=generator), dim=-1)
    inference = Inference(normalise=mode).of(run.method)
    with pytest.raises(MethodError, match="needs a bank"):
        run.rank("a red thing", files(pairs), inference=inference)
    save_banks(tmp_path / "bank.safetensors", {"run": Bank(Cosines(*hubs), 5.0, f"text mode {inference.mode}")})
    result, plain = run.evaluate(pairs, inference), run.evaluate(pairs)
    assert any((plain.ranks[d].better != result.ranks[d].better).any() for d in plain.ranks), "nothing was corrected"
    require_equal_order(run, pairs, result, inference)


def test_a_bank_of_given_pairs_serves_a_method_without_vectors(pairs: Pairs, tmp_path: Path) -> None:
    run, inference = run_of("filip", {"context_tokens": 2}, pairs, tmp_path), Inference(normalise="bank")
    bank = Pairs(
        [Pair(ImageFile(draw_noise(tmp_path / f"bank{n}.png", 9 + n)), (f"a {n} photo",), f"b{n}") for n in range(3)],
        "bank",
    )
    result, plain = run.evaluate(pairs, inference, bank=bank), run.evaluate(pairs)
    assert any((plain.ranks[d].better != result.ranks[d].better).any() for d in plain.ranks), "nothing was corrected"
    require_equal_order(run, pairs, result, inference, bank=bank)


def test_kinds_of_images_and_the_number_returned(pairs: Pairs, tmp_path: Path) -> None:
    run, paths = run_of("dual_prompt", {"context_tokens": 2}, pairs, tmp_path), files(pairs)
    opened = [Image.open(path) for path in paths]
    expected = run.rank("a red thing", paths, top=3)
    assert [one.item for one in expected] == [paths[one.index] for one in expected]
    assert len(expected) == 3
    for images in (opened, list(map(str, paths)), [np.array(image) for image in opened]):
        found = run.rank("a red thing", images, top=3)
        assert [(one.index, one.score) for one in found] == [(one.index, one.score) for one in expected]
    texts = run.rank(opened[0], tuple(pairs.captions))
    assert [one.item for one in texts] == [pairs.captions[one.index] for one in texts]
    assert len(texts) == N * PER
    assert run.rank("a red thing", []) == []


def test_all_unreadable_candidates_are_named_at_once(pairs: Pairs, tmp_path: Path) -> None:
    run = run_of("dual_prompt", {"context_tokens": 2}, pairs, tmp_path)
    (tmp_path / "damaged.png").write_bytes(b"no image")
    images = ["missing.jpg", *files(pairs) * 6, str(tmp_path / "damaged.png")]  # two batches
    with pytest.raises(DataError, match=r"2 of the images cannot be read: .*missing\.jpg.*damaged\.png"):
        run.rank("a red thing", images)


def test_what_cannot_be_ranked_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    run, paths = run_of("dual_prompt", {"context_tokens": 2}, pairs, tmp_path), files(pairs)
    for query, candidates, words in (
        ("a red thing", "a.jpg", r"^the candidates are one str\. Give a list: run\.rank\(query, \[\.\.\.\]\)\.$"),
        ("a red thing", paths[0], r"the candidates are one \w*Path"),
        ("a red thing", np.zeros((8, 8, 3), np.uint8), "the candidates are one ndarray"),
        ("a red thing", ["a thing", "two things"], "query and candidates are all texts"),
        (paths[0], paths, "query and candidates are all images"),
        ("a red thing", [*paths, "a thing"], "candidate 6 is a text, and candidate 0 is not: 'a thing'"),
        (paths[0], ["a thing", paths[0], "two things"], "candidate 1 is an image, and candidate 0 is not"),
    ):
        with pytest.raises(DataError, match=words):
            run.rank(query, candidates)
    for options, words in (({"centre": True}, "Leave centre out"), ({"rerank": True}, "has no scores of pairs")):
        with pytest.raises(MethodError, match=words):
            run.rank("a red thing", paths, inference=options)
    for top in (0, "3", 2.5, True, None):
        with pytest.raises(MethodError, match=f"top is {top!r}; it must be a whole number"):
            run.rank("a red thing", paths, top=top)
