"""The bank of a run: written by adapt, chosen on validation, used by evaluate, and never made of evaluated queries."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.nn.functional import normalize

import crosscue
from crosscue.data.pairs import EmbeddedImage, ImageFile, Pair, Pairs
from crosscue.data.sources import read_pairs
from crosscue.encoding.hubness import load_text_bank
from crosscue.errors import DataError, MethodError
from crosscue.evaluation.measuring import Ranked, with_bank
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import recall
from crosscue.measurement import (
    BETAS,
    bank_of_run,
    best_correction,
    judged,
    normalised_result,
    normalised_too,
    right_images,
)
from crosscue.methods.images import cached_images
from crosscue.methods.registry import build
from crosscue.retrieval import bank as banks
from crosscue.retrieval.bank import Bank, bank_of, load_bank, save_banks
from crosscue.retrieval.normalising import Normalised, normalised
from crosscue.retrieval.options import Inference
from crosscue.retrieval.scores import Cosines, Scores
from tests import tiny
from tests.images import write_source
from tests.training import runs

NORMALISED = Inference(normalise="bank")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("banks")
    write_source(folder / "pairs")
    runs.adapt(folder / "pairs", "../run", training=runs.config(epochs=1))
    return folder


def source(place: Path) -> crosscue.Pairs:
    return read_pairs(place / "pairs")


def test_a_run_folder_has_banks_that_evaluate_uses(place: Path) -> None:
    run, test = crosscue.load(place / "run", precision="fp32"), source(place).split("test")
    plain, result = run.evaluate(test), run.evaluate(test, NORMALISED)
    bank = load_bank(place / "run" / "bank.safetensors", "run")
    assert bank is not None
    assert bank.beta in BETAS
    assert plain.protocol["normalised"] == "none"
    assert result.protocol["normalised"] == "bank"
    train = source(place).split("train")
    named = f"16 images and 16 captions ({train.fingerprint()[:12]})"
    assert (result.protocol["beta"], result.protocol["bank"]) == (bank.beta, named)
    assert not {"beta", "bank"} & plain.protocol.keys()
    given = run.evaluate(test, crosscue.Inference(normalise="bank", beta=7.0), bank=train.part([*train][:9]))
    assert given.protocol["beta"] == 7.0
    assert given.protocol["bank"].startswith("9 images and 9 captions (")
    owner = torch.tensor(test.caption_owner)
    by_hand = rank_scores(normalised(plain.scores, bank.scores, bank.beta, "bank"), owner)
    assert (result.i2t, result.t2i) == (recall(by_hand[0]), recall(by_hand[1]))
    again = with_bank(run.method, plain, bank, NORMALISED.of(run.method))
    assert (again.i2t, again.t2i) == (result.i2t, result.t2i)


def test_the_bank_of_a_folder_is_the_bank_of_its_training_pairs(place: Path) -> None:
    run, train = crosscue.load(place / "run", precision="fp32"), source(place).split("train")
    bank = load_bank(place / "run" / "bank.safetensors", "run")
    assert bank is not None
    made = bank_of(run.method, train, cached_images(train, run.method), Inference().of(run.method))
    torch.testing.assert_close(made.scores.images, bank.scores.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.scores.texts, bank.scores.texts, atol=1e-5, rtol=0)


def test_before_and_after_have_banks_of_their_own(place: Path) -> None:
    run, test = crosscue.load(place / "run", precision="fp32"), source(place).split("test")
    plain = crosscue.before_and_after(run, test)
    direct, later = crosscue.before_and_after(run, test, NORMALISED), normalised_too(run.method, run.folder, plain)
    assert later is not None
    for side in ("before", "after"):
        assert getattr(direct, side).metrics() == getattr(later, side).metrics()
        assert getattr(direct, side).protocol["normalised"] == "bank"


def test_centred_scores_are_not_normalised_by_a_bank_that_is_not_centred(place: Path) -> None:
    run, train = crosscue.load(place / "run", precision="fp32"), source(place).split("train")
    for centre in (True, False):
        result = run.evaluate(source(place).split("test"), crosscue.Inference(centre=centre))
        for folder, pairs in ((run.folder, None), (None, train)):
            assert (normalised_result(run.method, folder, "run", result, pairs) is None) == centre


def test_a_method_takes_the_training_split_as_bank(place: Path) -> None:
    test, train = source(place).split("test"), source(place)
    backbone = crosscue.load_backbone(str(tiny.clip_folder()), precision="fp32")
    result = crosscue.evaluate("zero_shot", test, backbone, inference=NORMALISED, bank=train)
    assert result.protocol["normalised"] == "bank"
    with pytest.raises(MethodError, match="--bank SOURCE"):
        crosscue.evaluate("zero_shot", test, backbone, inference=NORMALISED)
    with pytest.raises(DataError, match="a bank needs training pairs, and there is only the split test"):
        crosscue.evaluate("zero_shot", test, backbone, inference=NORMALISED, bank=test)


def test_a_bank_is_for_the_scores_that_it_was_made_of(place: Path) -> None:
    method, folder = build("dcar", tiny.tiny_backbones["clip"]()), place / "run"
    assert bank_of_run(method, folder, "run", Inference(mode="plain", normalise="bank")) is not None
    for other in (Inference(mode="caa", normalise="bank"), Inference(mode="prior", normalise="bank")):
        assert bank_of_run(method, folder, "run", other) is None


def test_token_by_token_scores_are_normalised_by_a_given_bank(place: Path) -> None:
    run = runs.adapt(place / "pairs", "../filip", method="filip", training=runs.config(epochs=1))
    test, train = source(place).split("test"), source(place).split("train")
    with pytest.raises(MethodError, match="--bank SOURCE"):
        run.evaluate(test, NORMALISED)
    result = run.evaluate(test, replace(NORMALISED, beta=9.0), bank=train)
    plain = run.evaluate(test).scores
    i2t = result.scores.block(slice(0, 2), slice(0, 3))[0]
    bank = banks.first_scores(run.method, train.captions, cached_images(train, run.method), len(train), Inference())
    crossed = banks.late_scores(
        run.method, cached_images(train, run.method), len(train), test.captions, torch.device("cpu")
    )
    against = crossed.block(slice(0, len(train)), slice(0, 3))[0]  # bank images, captions of the test
    bias = ((9 * against).logsumexp(0) - torch.log(torch.tensor(float(len(train))))) / 9
    torch.testing.assert_close(i2t, plain.block(slice(0, 2), slice(0, 3))[0] - bias, atol=1e-5, rtol=0)
    assert bank.image_count == len(train)


def test_a_bank_is_spread_over_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banks, "SIZE", 4)
    assert banks.spread(10) == [0, 3, 6, 9]
    assert banks.spread(3) == [0, 1, 2]


@torch.no_grad()
def test_captions_of_a_bank_are_spread_over_all_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for four: images 0, 1, 3 and 4 of five, and captions 0, 3, 5 and 8 of nine."""
    monkeypatch.setattr(banks, "SIZE", 4)
    unread = lambda: b""  # noqa: E731
    texts = [("a dog",), ("two cats", "pink", "a red thing"), ("snow", "grass"), ("a black cat", "blue"), ("white",)]
    pairs = Pairs(Pair(EmbeddedImage(f"{i}.jpg", unread), own, str(i)) for i, own in enumerate(texts))
    pixels = torch.randint(0, 256, (5, 3, tiny.SIZE, tiny.SIZE), generator=torch.Generator().manual_seed(0))
    method = build("zero_shot", tiny.tiny_backbones["clip"]())
    scores = bank_of(method, pairs, pixels.to(torch.uint8), Inference().of(method)).scores
    assert isinstance(scores, Cosines)
    images = method.encode_image(pixels[[0, 1, 3, 4]].to(torch.uint8))
    torch.testing.assert_close(scores.images, images, rtol=0, atol=1e-5)
    captions = method.encode_text(["a dog", "a red thing", "grass", "white"])
    torch.testing.assert_close(scores.texts, captions, rtol=0, atol=1e-5)


def test_validation_chooses_beta(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = source(place).split("test")
    tried: list[tuple[float, str]] = []
    computed: list[slice] = []

    def correct(scores: Scores, of_images: Scores, of_captions: Scores, beta: float, form: str) -> Cosines:
        tried.append((beta, form))
        for part in (scores, of_images, of_captions):
            part.block(slice(0, 2), slice(0, 2))
        right = torch.eye(len(pairs))[torch.tensor(pairs.caption_owner)]
        return Cosines(torch.eye(len(pairs)), right if beta == BETAS[2] else right.roll(1, 0))

    class Counted(Cosines):
        def block(self, images: slice, captions: slice) -> tuple[torch.Tensor, torch.Tensor]:
            computed.append(images)
            return super().block(images, captions)

    monkeypatch.setattr("crosscue.measurement.corrected", correct)
    monkeypatch.setattr("crosscue.retrieval.normalising.Cosines", Counted)  # of images and bank, of bank and captions
    bank = Bank(Counted(torch.eye(3), torch.eye(3)))
    assert best_correction(bank, bank.scores, pairs) == (BETAS[2], "bank")
    assert tried == [*((beta, "bank") for beta in BETAS), (BETAS[2], "dynamic")]
    assert len(computed) == 3, "each of the three is computed once for all betas"


@pytest.mark.parametrize("form", ["bank", "dynamic"])
def test_beta_is_chosen_for_both_directions_together_and_then_the_form(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One value is perfect from images, one from texts; the third loses one query of sixteen, and `dynamic` with it may lose none."""
    ramp, none, one = 10.0 * torch.arange(8), torch.zeros(8), 10.0 * torch.eye(8)[0]
    biases = {BETAS[0]: (ramp, none), BETAS[1]: (none, ramp), BETAS[2]: (none, one)}  # of images, of captions

    def correct(scores: Scores, of_images: Scores, of_captions: Scores, beta: float, tried: str) -> Normalised:
        found = biases.get(beta, (ramp, ramp)) if tried == "bank" else (none, none if form == "dynamic" else ramp)
        return Normalised(Cosines(torch.eye(8), torch.eye(8)), *found, torch.ones(8), torch.ones(8), "test")

    monkeypatch.setattr("crosscue.measurement.corrected", correct)
    pairs = crosscue.Pairs(crosscue.Pair(ImageFile(Path(f"{row}.jpg")), ("a",), f"{row}") for row in range(8))
    bank = Bank(Cosines(torch.eye(8), torch.eye(8)))
    assert best_correction(bank, bank.scores, pairs) == (BETAS[2], form)


@pytest.mark.parametrize("form", ["bank", "dynamic"])
def test_chosen_is_the_form_that_validation_chose(
    form: Literal["bank", "dynamic"], place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    file, test = tmp_path / "run" / "bank.safetensors", source(place).split("test")
    save_banks(file, {name: replace(load_bank(file, name), form=form) for name in ("run", "untouched")})
    assert load_bank(file, "run").form == form
    run = crosscue.load(tmp_path / "run", precision="fp32")
    by_itself, named = (run.evaluate(test, Inference(normalise=name)) for name in ("chosen", form))
    assert by_itself.protocol == named.protocol
    assert by_itself.protocol["normalised"] == form
    assert by_itself.metrics() == named.metrics()
    compared = crosscue.before_and_after(run, test, inference=Inference(normalise="chosen"))
    assert compared.before.protocol["normalised"] == form
    best = [
        run.rank("a red thing", [pair.image.path for pair in test], 8, {"normalise": name}) for name in ("chosen", form)
    ]
    assert [(found.index, found.score) for found in best[0]] == [(found.index, found.score) for found in best[1]]


def hubs(hub: bool) -> tuple[Cosines, Bank]:
    """Sixty right pairs in noise; with a hub every text is near to image 0, those of the bank too."""
    draw = torch.Generator().manual_seed(3)
    images = normalize(torch.randn(60, 24, generator=draw), dim=1)
    noise = torch.randn(120, 24, generator=draw) / 6
    texts = images.repeat_interleave(2, 0) + noise + (0.9 * images[:1] if hub else 0)
    bank = normalize(torch.randn(200, 24, generator=draw) / 5 + (images[:1] if hub else 0), dim=1)
    scores = Cosines(images, normalize(texts, dim=1))
    return scores, Bank(Cosines(bank, bank.clone()))


def paired(count: int) -> crosscue.Pairs:
    """Pairs of two captions each."""
    return crosscue.Pairs(crosscue.Pair(ImageFile(Path(f"{row}.jpg")), ("a", "b"), f"{row}") for row in range(count))


@pytest.mark.parametrize("hub", [True, False])
def test_validation_decides_whether_search_is_corrected(hub: bool, tmp_path: Path) -> None:
    scores, bank = hubs(hub)
    pairs = paired(60)
    owner = torch.tensor(pairs.caption_owner)
    found = judged(bank, Ranked(scores, rank_scores(scores, owner)), pairs)
    assert found.helps is hub
    assert found.line is not None
    save_banks(tmp_path / "bank.safetensors", {"run": found})
    assert load_bank(tmp_path / "bank.safetensors", "run").line == found.line
    kept = load_text_bank(tmp_path / "bank.safetensors", found.reading)
    assert (kept.helps, kept.line, kept.beta) == (hub, found.line, found.beta)


def test_the_z_of_a_right_image_counts_spreads_above_its_own_captions_mean() -> None:
    scores, _ = hubs(False)
    own, z = right_images(scores, torch.tensor(paired(60).caption_owner))
    row = [float(scores.images[image] @ scores.texts[70]) for image in range(60)]
    mean = sum(row) / 60
    spread = (sum((score - mean) ** 2 for score in row) / 60) ** 0.5
    assert own[70] == pytest.approx(row[35], abs=1e-6)
    assert z[70] == pytest.approx((row[35] - mean) / spread, abs=1e-4)


@pytest.mark.parametrize(("options", "words"), [({"beta": 0.0}, "above 0"), ({"centre": True}, "not centred")])
def test_options_that_cannot_work_are_refused(place: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        crosscue.load(place / "run", precision="fp32").evaluate(source(place), replace(NORMALISED, **options))
