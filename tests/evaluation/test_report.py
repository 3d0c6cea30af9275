"""From a method and pairs to a page that needs nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.pixels import PixelStore
from crosscue.errors import CrosscueError, DataError, RunError
from crosscue.evaluation.comparison import BETTER, SAME, WORSE, compare
from crosscue.evaluation.console import comparison_table, result_table
from crosscue.evaluation.example_queries import examples, first_candidates
from crosscue.evaluation.measuring import evaluate, rank_embeddings, result_of, validation_metrics
from crosscue.evaluation.recall import KS, recall
from crosscue.evaluation.report import Extras, write_report
from crosscue.evaluation.result import Retrieval
from crosscue.evaluation.summary import facts, ranking, verdict_line
from crosscue.intervals import Difference, holm
from crosscue.knowledge.actions import parser
from crosscue.methods.registry import build
from crosscue.retrieval.encoding import embed_captions, embed_images
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import Scorer
from tests.images import draw_noise
from tests.tiny import tiny_backbones

COLOURS = ["red", "green", "blue", "white", "black", "yellow"]


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    made = []
    for index in range(12):
        draw_noise(tmp_path / f"{index}.png", index)
        colour = COLOURS[index % 6]
        texts = (f"a {colour} thing <b>{index}</b>", f"the {colour} one" if index < 6 else f"two {index}")
        made.append(Pair(ImageFile(tmp_path / f"{index}.png"), texts, str(index), colour, split="test"))
    return Pairs(made, "colours")


def measured(pairs: Pairs, seed: int | None = None, **options: object) -> Retrieval:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(seed or 0)
    method = build("zero_shot" if seed is None else "dual_prompt", backbone)
    return evaluate(method, pairs, PixelStore(pairs.images, backbone.pixels, cache=False), Inference(**options))


def test_result_names_its_protocol_and_survives_json(pairs: Pairs, tmp_path: Path) -> None:
    result = measured(pairs)
    assert result.protocol["gallery"] == 12
    assert result.protocol["captions"] == 24
    assert result.protocol["captions_per_image"] == [2, 2]
    assert result.protocol["data_fingerprint"] == pairs.fingerprint()
    assert set(result.categories) == set(COLOURS)
    result.save(tmp_path / "result.json")
    again = Retrieval.from_dict(json.loads((tmp_path / "result.json").read_text()))
    assert again.metrics() == result.metrics()
    assert compare(result, again).differences["i2t"]["r1"].mean == 0
    with pytest.raises(RunError, match="not a result"):
        Retrieval.from_dict({})


def test_validation_examines_nothing_and_gives_the_same_recall(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(pairs, seed=1)
    content = result.to_dict()
    again = Retrieval.from_dict(json.loads(json.dumps(content)))
    assert again.categories == result.categories
    assert again.group_aware == result.group_aware
    for name in ("by_category", "by_wording", "group_aware", "resampled"):
        monkeypatch.setattr(f"crosscue.evaluation.result.{name}", pytest.fail)
    monkeypatch.setattr(Pairs, "fingerprint", pytest.fail)
    torch.manual_seed(1)
    backbone = tiny_backbones["clip"]()
    method = build("dual_prompt", backbone)
    found = validation_metrics(method, pairs, PixelStore(pairs.images, backbone.pixels, cache=False))
    assert found == result.metrics()
    assert found["rsum"] == content["rsum"]


def test_equal_captions_cost_recall_only_without_groups(pairs: Pairs) -> None:
    twins = Pairs([*pairs, *(Pair(p.image, p.captions, f"twin {p.image_id}", p.category) for p in pairs)], "twins")
    result = measured(twins)
    assert result.group_aware["t2i"].r1 >= 2 * result.t2i.r1 - 1e-6
    assert result.i2t.r1 <= 50


def test_centring_is_stamped(pairs: Pairs) -> None:
    assert measured(pairs, centre=True).protocol["centred"] is True
    assert measured(pairs).protocol["centred"] is False


def test_pairing_never_reaches_the_encoders(pairs: Pairs) -> None:
    result = measured(pairs, seed=1)
    swapped = Pairs(
        [Pair(p.image, q.captions, p.image_id, p.category) for p, q in zip(pairs, pairs.items[::-1], strict=True)],
        "swapped",
    )
    other = measured(swapped, seed=1)
    assert torch.equal(result.scores.images, other.scores.images)
    assert torch.equal(result.scores.texts.reshape(12, 2, -1).flip(0).reshape(24, -1), other.scores.texts)


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("categories", [True, False])
def test_report_is_one_self_contained_page(pairs: Pairs, tmp_path: Path, history: bool, categories: bool) -> None:
    if not categories:
        pairs = Pairs([Pair(p.image, p.captions, p.image_id) for p in pairs], "plain")
    comparison = compare(measured(pairs), measured(pairs, seed=1))
    lines = [{"kind": "train", "step": s, "loss": 1 / s} for s in (1, 2)] + [
        {"kind": "validation", "step": 2, "epoch": 1, "rsum": 100.0, "best_epoch": 1}
    ]
    run = {"run": "mine", "trained on": "12 images"}
    page = write_report(tmp_path / "report", comparison, pairs, Extras(history=lines if history else (), run=run))
    html = page.read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", html)
    assert links
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert ("chosen: epoch 1" in html) == ("validation Rsum" in html) == ("training loss" in html) == history
    assert "from the untouched backbone, on 12 images" in html or "than the untouched backbone, on 12 images" in html
    for fact in ("method", "run", "trained on", "evaluated on", "date", "protocol"):
        assert f"<dt>{fact}</dt>" in html
    assert "A blue frame marks the image that belongs to the caption" in html
    assert "A blue frame marks a caption that belongs to the image" in html
    assert not re.search(r"\d – ", html)
    assert ("By category" in html) == categories
    assert "NOT COMPARABLE" not in html
    assert json.loads((page.parent / "report.json").read_text())["after"]["protocol"]["method"] == "dual_prompt"
    assert "| image → text | 1 |" in (page.parent / "report.md").read_text(encoding="utf-8")


def test_without_spacy_the_report_has_the_command_that_installs_it(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    parser.load_parser.cache_clear()
    page = write_report(tmp_path / "report", compare(measured(pairs), measured(pairs, seed=1)), pairs)
    html = page.read_text(encoding="utf-8")
    assert "Recall by wording is left out" in html
    assert "pip install &#39;crosscue[spacy]&#39;" in html
    assert json.loads((page.parent / "report.json").read_text())["after"]["wordings"] == {}


def test_a_diagnostic_is_stamped(pairs: Pairs, tmp_path: Path) -> None:
    before, after = measured(pairs), measured(pairs, seed=1)
    after.protocol["comparable"] = False
    comparison = compare(before, after)
    page = write_report(tmp_path / "report", comparison, pairs)
    assert "NOT COMPARABLE" in page.read_text(encoding="utf-8")
    assert "NOT COMPARABLE" in (page.parent / "report.md").read_text(encoding="utf-8")
    assert "NOT COMPARABLE" in str(comparison_table(comparison, "t").caption)
    assert "NOT COMPARABLE" not in str(result_table(before).caption)
    before.protocol.update(left_out="3 pairs cannot be read", validated_on="4 folds")
    caption = str(result_table(before).caption)
    assert "3 pairs cannot be read and are left out\n4 folds" in caption


def test_the_table_of_a_comparison_names_a_direction_once_and_colours_what_is_significant(pairs: Pairs) -> None:
    before = measured(pairs)
    certain = [Difference(mean, mean - 0.1, mean + 0.1, 1e-4) for mean in (0.5, -0.5, 2.0)]
    chance = [Difference(3.0, -1.0, 7.0, 0.6)] * 3
    differences = {
        direction: {f"r{k}": change for k, change in zip(KS, changes, strict=True)}
        for direction, changes in (("i2t", certain), ("t2i", chance))
    }
    table = comparison_table(replace(compare(before, before), differences=differences), "t")
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["image → text", "", "", "text → image", "", ""]
    assert cells[1] == ["R@1", "R@5", "R@10"] * 2
    assert [cell.style for cell in cells[4]] == ["green", "red", "green", *["default"] * 3]
    assert cells[5][:1] == ["0.0006"]
    assert [column.justify for column in table.columns] == ["left", *["right"] * 5]


def test_facts_of_a_comparison_in_words(pairs: Pairs) -> None:
    before, after = measured(pairs), measured(pairs, seed=1)
    assert "12 images, 24 captions (2 an image)" in facts(compare(before, after), {})["evaluated on"]
    after.protocol["captions_per_image"] = [1, 2]
    assert "(1 to 2 an image)" in facts(compare(before, after), {})["evaluated on"]
    assert "normalised" not in ranking(compare(before, after))
    after.protocol["normalised"] = "none"
    assert "normalised" not in ranking(compare(before, after))
    after.protocol["normalised"] = "bank"
    assert "normalised by a bank" in ranking(compare(before, after))


def test_a_result_is_printed_without_its_scores(pairs: Pairs) -> None:
    assert "tensor" not in repr(measured(pairs))
    assert "again" not in repr(measured(pairs))


def test_centring_subtracts_the_mean_of_each_modality(pairs: Pairs) -> None:
    images, texts = torch.randn(12, 5), torch.randn(24, 5)
    scores = rank_embeddings(pairs, images, texts, Inference(centre=True, rerank=False)).scores
    for found, given in ((scores.images, images), (scores.texts, texts)):
        mean = sum(given) / len(given)
        torch.testing.assert_close(found, torch.stack([(row - mean) / (row - mean).norm() for row in given]))


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_examples_are_the_largest_changes(pairs: Pairs, direction: str) -> None:
    comparison = compare(measured(pairs), measured(pairs, seed=1))
    found, every = examples(comparison, pairs, direction, count=3), examples(comparison, pairs, direction, count=99)
    assert all(example.rank_after < example.rank_before for example in found.rose)
    assert all(example.rank_after > example.rank_before for example in found.fell)
    assert (len(every.rose), len(every.fell)) == (found.risen, found.fallen)
    assert len(found.rose) == min(3, found.risen)
    assert len(found.fell) == min(3, found.fallen)
    for example in found.rose + found.fell:
        owner = pairs.caption_owner
        right = {owner[example.query]} if direction == "t2i" else {c for c in range(24) if owner[c] == example.query}
        assert example.right == right
    ranks = [result.ranks[direction] for result in (comparison.before, comparison.after)]
    before, after = (rank.better + (rank.tied + 1) / 2 for rank in ranks)
    assert (found.risen, found.fallen) == (int((after < before).sum()), int((after > before).sum()))
    for example in every.rose + every.fell:
        assert (example.rank_before, example.rank_after) == (int(before[example.query]), int(after[example.query]))
    gains = [before[example.query] / after[example.query] for example in every.rose]
    assert gains == sorted(gains, reverse=True)


def test_the_verdict_rests_on_the_interval_of_rsum(pairs: Pairs) -> None:
    before, after = measured(pairs), measured(pairs, seed=1)
    total = compare(before, after).total
    assert total.mean == pytest.approx(after.rsum - before.rsum)
    assert total.low < total.mean < total.high
    assert compare(before, before).verdict == SAME
    best = {d: replace(ranks, better=0 * ranks.better, tied=0 * ranks.tied + 1) for d, ranks in before.ranks.items()}
    best = {d: replace(ranks, tied_positives=0 * ranks.tied + 1) for d, ranks in best.items()}
    perfect = replace(before, ranks=best, i2t=recall(best["i2t"]), t2i=recall(best["t2i"]))
    assert compare(before, perfect).verdict == BETTER
    assert compare(perfect, before).verdict == WORSE
    assert verdict_line(compare(perfect, before)).startswith(
        "Worse than the untouched backbone, on 12 images: Rsum 600.0"
    )
    assert verdict_line(compare(before, before)).startswith("Not distinguishable from the untouched backbone")


def test_six_differences_are_corrected_together(pairs: Pairs) -> None:
    comparison = compare(measured(pairs), measured(pairs, seed=1))
    raw = [change.p for by_k in comparison.differences.values() for change in by_k.values()]
    corrected = [p for by_k in comparison.corrected.values() for p in by_k.values()]
    assert corrected == holm(raw)
    assert min(corrected) == pytest.approx(min(6 * min(raw), 1.0))
    assert comparison.to_dict()["i2t"]["r5"]["p_holm"] == comparison.corrected["i2t"]["r5"]


def reversed_first(pairs: Pairs, top: int) -> Retrieval:
    """Returns a result whose re-ranking reverses the first `top` candidates of every query."""
    backbone = tiny_backbones["clip"]()
    method = build("zero_shot", backbone)
    inference = replace(Inference(top=top).of(method), rerank=True)
    gallery = embed_images(method, PixelStore(pairs.images, backbone.pixels, cache=False), len(pairs))
    captions = embed_captions(method, pairs.captions, Inference())
    scorer: Scorer = lambda image, caption, plain, *, image_first: -plain  # noqa: E731
    return result_of(method, pairs, rank_embeddings(pairs, gallery, captions, inference, scorer), inference)


@pytest.mark.parametrize("top", [1, 4, 12, 40])
def test_shown_images_contradict_no_rank_after_re_ranking(pairs: Pairs, top: int) -> None:
    before, after = measured(pairs), reversed_first(pairs, top)
    for caption, owner in enumerate(pairs.caption_owner):
        for result in (before, after):
            shown, ranks = first_candidates(result, "t2i", caption, len(pairs)), result.ranks["t2i"]
            assert sorted(shown) == list(range(len(pairs)))
            assert 0 <= shown.index(owner) - ranks.better[caption] < ranks.tied[caption]
        first, again = (first_candidates(result, "t2i", caption, len(pairs)) for result in (before, after))
        assert again == first[:top][::-1] + first[top:]
    for direction in ("t2i", "i2t"):
        found = examples(compare(before, after), pairs, direction, top=len(pairs.captions))
        for example in found.rose + found.fell:
            assert example.top_before[example.rank_before - 1] in example.right
            assert example.top_after[example.rank_after - 1] in example.right
            assert not example.right & set(example.top_after[: example.rank_after - 1])
    assert Retrieval.from_dict(json.loads(json.dumps(after.to_dict()))).again is None


def test_other_pairs_cannot_be_compared(pairs: Pairs) -> None:
    with pytest.raises(CrosscueError, match="different pairs"):
        compare(measured(pairs), measured(Pairs(pairs.items[:6], "half")))


def test_a_pair_without_caption_is_named(pairs: Pairs) -> None:
    with pytest.raises(DataError, match="no caption"):
        measured(Pairs([*pairs, Pair(pairs[0].image, (), "x", where="row 13")], "bad"))
