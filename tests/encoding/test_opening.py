"""The encoder around a run, and around a method without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import crosscue
from crosscue.encoding.encoder import Encoder
from crosscue.encoding.hubness import load_text_bank
from crosscue.errors import MethodError
from crosscue.opening import open_encoder
from crosscue.retrieval.bank import FILE, Bank, load_bank, save_banks
from crosscue.retrieval.normalising import bias_of_images
from crosscue.retrieval.scores import Cosines
from tests import tiny
from tests.images import write_source

CLIP = {"backbone": str(tiny.clip_folder()), "precision": "fp32"}
TEXTS = ["a red thing", "two blue things on the dog"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> crosscue.Run:
    folder = write_source(tmp_path_factory.mktemp("pairs"))
    training = {"epochs": 1, "batch_size": 8, "lr": 0.05}
    return crosscue.adapt(folder, "dual_prompt", out=folder / "run", training=training, **CLIP)


def pixels(encoder: Encoder, count: int = 5) -> np.ndarray:
    size = encoder.pixels.size
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def test_a_run_folder_encodes_as_its_run_does(run: crosscue.Run) -> None:
    encoder = open_encoder(str(run.folder), precision="fp32")
    assert np.allclose(encoder.encode_texts(TEXTS).vectors, run.encode_text(TEXTS), atol=1e-6)
    images = pixels(encoder)
    assert np.allclose(encoder.encode_images(images), run.encode_image(list(images.transpose(0, 2, 3, 1))), atol=1e-6)
    assert encoder.identity.run == run.fingerprint
    assert (encoder.identity.width, encoder.identity.image_size) == (32, 32)


def test_the_bank_gives_the_correction_of_retrieval(run: crosscue.Run) -> None:
    encoder = open_encoder(run)
    images = encoder.encode_images(pixels(encoder))
    kept = load_bank(run.folder / FILE, "run")
    expected = bias_of_images(Cosines(torch.from_numpy(images), kept.scores.texts), kept.beta)
    assert np.allclose(encoder.bank.hubness(images), expected, atol=1e-6)


def test_a_method_without_training_has_no_bank_and_its_own_identity(run: crosscue.Run) -> None:
    encoder = open_encoder("zero_shot", **CLIP)
    assert encoder.bank is None
    assert encoder.identity.source == "zero_shot"
    assert encoder.identity.run != run.fingerprint
    assert encoder.encode_texts([]).vectors.shape == (0, 32)


@pytest.mark.parametrize("context", [0, 4])
def test_a_cut_text_reports_the_pieces_that_were_not_read(context: int) -> None:
    run = crosscue.Run(_coop(context).eval())
    cut = open_encoder(run).encode_texts(["a dog", "dog " * 22, "dog " * 30]).truncated
    room = 22 - context
    assert cut.tolist() == [0, 22 - room, 30 - room]


def _coop(context: int) -> crosscue.Method:
    from crosscue.methods.registry import build

    return build("coop", tiny.tiny_backbones["clip"](), {"context_tokens": context, "context_words": None})


def test_a_method_that_compares_tokens_is_refused() -> None:
    from crosscue.methods.registry import build

    run = crosscue.Run(build("filip", tiny.tiny_backbones["clip"]()))
    with pytest.raises(MethodError, match="token by token"):
        open_encoder(run)


def test_re_ranking_is_refused_where_there_is_none() -> None:
    encoder = open_encoder("zero_shot", **CLIP)
    assert encoder.rerank_modes == ()
    with pytest.raises(MethodError, match="no re-ranking 'pairs'"):
        encoder.rerank("pairs", "a dog", pixels(encoder), np.zeros(5, np.float32))


def test_re_ranking_gives_the_scores_of_pairs() -> None:
    from crosscue.methods.registry import build

    method = build("dcar", tiny.tiny_backbones["clip"]())
    encoder = open_encoder(crosscue.Run(method.eval()))
    images = pixels(encoder)
    plain = encoder.encode_images(images) @ encoder.encode_texts(["a dog"]).vectors[0]
    again = encoder.rerank("pairs", "a dog", images, plain)
    with torch.no_grad():
        features = method.pair_features(torch.from_numpy(images))
        expected = method.pair_scores(features, torch.from_numpy(plain), ["a dog"] * 5)
    assert np.allclose(again, expected, atol=1e-6)
    assert encoder.uncertainty(plain) is None


def test_a_bank_of_another_text_mode_corrects_no_search(tmp_path: Path) -> None:
    vectors = normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    save_banks(tmp_path / FILE, {"run": Bank(Cosines(vectors[:2].clone(), vectors), 7.0, "text mode caa")})
    kept = load_text_bank(tmp_path / FILE, "text mode caa")
    assert kept is not None
    assert kept.beta == 7
    assert np.array_equal(kept.vectors, vectors.numpy())
    for reading in ("text mode plain", "untouched backbone"):
        assert load_text_bank(tmp_path / FILE, reading) is None
    assert load_text_bank(tmp_path / FILE, "text mode caa", "untouched") is None
