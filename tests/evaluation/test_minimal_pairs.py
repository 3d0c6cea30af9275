"""Minimal pairs: the right caption against an edited one, scored as in retrieval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from crosscue.cli import dispatch
from crosscue.data.pairs import ImageFile, Negative, Pair, Pairs
from crosscue.data.pixels import PixelStore
from crosscue.errors import DataError
from crosscue.evaluation.minimal_pairs import ALL, Contests, preferences
from crosscue.methods.capabilities import LateInteraction, ReadsTogether
from crosscue.methods.registry import build
from crosscue.retrieval.options import Inference
from crosscue.run import Run
from tests import tiny
from tests.images import draw_noise
from tests.tiny import tiny_backbones

EDITS = (Negative("a man is riding a cow", "category"), Negative("a man is feeding a horse", "attribute"))


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    made = []
    for index in range(4):
        draw_noise(tmp_path / f"{index}.png", index)
        captions = (f"a man is riding a horse {index}", f"a rider {index}") if index else ("a man is riding a horse",)
        negatives = EDITS if index % 2 else EDITS[:1]
        made.append(Pair(ImageFile(tmp_path / f"{index}.png"), captions, str(index), "horse", negatives))
    return Pairs(made, "riders")


def test_every_caption_meets_every_edit_of_its_image(pairs: Pairs) -> None:
    contests = Contests.of(pairs)
    assert contests.image.tolist() == [0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    for number, (right, wrong) in zip(contests.image.tolist(), contests.choice.tolist(), strict=True):
        assert contests.texts[right] in pairs[number].captions
        assert contests.texts[wrong] in [negative.text for negative in pairs[number].negatives]
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


def test_the_contests_of_an_image_are_resampled_together() -> None:
    """One image wins its 50 contests and one loses them: the interval is the whole range; of 100 images it is 40 to 60."""
    image = torch.arange(2).repeat_interleave(50)
    contests = Contests([], image, torch.zeros(100, 2, dtype=torch.int64), [(ALL,)] * 100)
    found = contests.decide(torch.stack([image.float(), torch.full((100,), 0.5)], 1))[ALL]
    assert (found["preferred"], found["low"], found["high"]) == (50, 0, 100)


RERANKED = ("pooled", "pairwise")


def test_an_edit_that_changes_nothing_is_a_tie(pairs: Pairs) -> None:
    same = Pairs([Pair(p.image, p.captions[:1], p.image_id, None, (Negative(p.captions[0]),)) for p in pairs], "same")
    backbone = tiny_backbones["clip"]()
    found = preferences(build("zero_shot", backbone), same, PixelStore(same.images, backbone.pixels, cache=False))
    assert found["all"]["preferred"] == found["all"]["low"] == 50


@pytest.mark.parametrize(
    ("name", "mode"),
    [("dual_prompt", "plain"), ("filip", None), ("action", "pooled"), ("action", "pairwise"), ("acke", "pairwise")],
)
def test_images_choose_as_they_do_in_retrieval(pairs: Pairs, name: str, mode: str | None) -> None:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    options = {"acke": {"acp": "pairwise"}, "action": {"knowledge": "spacy", "eta": 0.4}}.get(name, {})
    method = build(name, backbone, options)
    method.eval()
    images = PixelStore(pairs.images, backbone.pixels, cache=False)
    scored: list[Tensor] = []
    contests = Contests.of(pairs)

    class Watched(Contests):
        def decide(self, scores: Tensor) -> dict[str, dict[str, float]]:
            scored.append(scores)
            return super().decide(scores)

    watched = Watched(contests.texts, contests.image, contests.choice, contests.kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contests, "of", classmethod(lambda cls, _: watched))
        preferences(method, pairs, images, Inference(rerank=mode in RERANKED, pooled=mode == "pooled"))
    for place, (number, choice) in enumerate(zip(contests.image.tolist(), contests.choice.tolist(), strict=True)):
        captions = [contests.texts[one] for one in choice]
        expected = by_hand(method, images[[number]], captions, mode)
        torch.testing.assert_close(scored[0][place], expected, atol=2e-5, rtol=0)


@torch.no_grad()
def by_hand(method: object, image: Tensor, captions: list[str], mode: str | None) -> Tensor:
    """One image, two captions -> (2,) scores."""
    if isinstance(method, LateInteraction):
        encoded = method.image_tokens(image)
        return torch.stack([method.token_scores(encoded, method.text_tokens([one]))[0][0, 0] for one in captions])
    encoded, texts = method.encode_image(image), method.encode_text(captions)
    plain = (encoded @ texts.T)[0]
    if isinstance(method, ReadsTogether):  # the untouched backbone pre-selects
        untouched = build("zero_shot", method.backbone)
        plain = (untouched.encode_image(image) @ untouched.encode_text(captions).T)[0]
    if mode == "plain":
        return plain
    if not isinstance(method, ReadsTogether):
        return method.pair_scores(method.pair_features(image).expand(2, -1), plain, captions)
    if mode == "pooled":
        return method.scores_given_texts(image, [captions], texts[None], plain[None])[0]
    return torch.cat(
        [
            method.scores_given_texts(image, [[one]], texts[None, [number]], plain[None, [number]])[0]
            for number, one in enumerate(captions)
        ]
    )


def test_a_source_without_edits_is_refused(pairs: Pairs) -> None:
    bare = Pairs([Pair(pair.image, pair.captions, pair.image_id) for pair in pairs], "bare")
    with pytest.raises(DataError, match="bare: no image has edited captions"):
        Run(build("zero_shot", tiny_backbones["clip"]())).evaluate(bare, Inference(minimal_pairs=True))


def test_from_a_file_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Knowledge of edited captions is requested, made, and used; the numbers are on the terminal, in the file and on the page."""
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    rows = []
    for index in range(8):
        draw_noise(tmp_path / f"{index}.png", index)
        edits = [{"text": f"a man is feeding {index} horses", "type": "attribute"}]
        row = {"image": f"{index}.png", "caption": f"a man is riding {index} horses", "negatives": edits}
        rows.append(row | {"split": "train" if index < 4 else "test"})
    source, plain, edited, out = (
        str(tmp_path / name) for name in ("pairs.jsonl", "plain.jsonl", "edited.jsonl", "run")
    )
    Path(source).write_text("\n".join(map(json.dumps, rows)))
    assert dispatch(["describe", "triplets", source, "--out", plain]) == 0
    assert dispatch(["describe", "triplets", source, "--out", edited, "--negatives", "true"]) == 0
    learn = ["adapt", "--method", "action", "--data", source, "--backbone", str(tiny.clip_folder()), "--out", out]
    learn += ["--options.knowledge", plain, "--training.epochs", "2", "--options.second_stage_epochs", "1"]
    assert dispatch([*learn, "--validation", "false", "--precision", "fp32"]) == 0
    evaluation = ["evaluate", out, "--data", source, "--precision", "fp32", "--minimal_pairs", "true"]
    capsys.readouterr()
    assert dispatch(evaluation) == 2
    assert "add --negatives to that command" in capsys.readouterr().err
    assert dispatch([*evaluation, "--knowledge", edited, "--json", str(tmp_path / "result.json")]) == 0
    assert "preferred to an edited caption" in " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["minimal_pairs"]["attribute"]["pairs"] == 4
    assert result["wordings"]["an action"]["captions"] == 4
    page = (Path(out) / "report" / "report.html").read_text()
    assert "Captions and their edited versions" in page
    assert "By what captions speak of" in page
