"""One pass over the scores against a pass for each part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.evaluation import fold_ranks
from crosscue.evaluation.calibration import calibration, divisors
from crosscue.evaluation.folds import fold_recalls
from crosscue.evaluation.measuring import score
from crosscue.evaluation.recall import hits
from crosscue.evaluation.survey import Survey
from crosscue.methods.registry import build
from crosscue.retrieval import readers
from crosscue.retrieval.confidence import Temperatures
from crosscue.retrieval.options import Inference
from crosscue.testing.backbones import tiny_backbone
from tests.evaluation.loop import by_hand

IMAGES, EACH, WIDTH = 40, 3, 4


def pairs_and_vectors() -> tuple[Pairs, torch.Tensor, torch.Tensor]:
    """Twenty strings for 120 captions, some of them twice at one image; equal strings have equal vectors, and ties abound."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 20, (IMAGES, EACH), generator=generator)
    rows = [tuple(f"string {number}" for number in row) for row in drawn.tolist()]
    pairs = Pairs([Pair(EmbeddedImage(str(i), bytes), row, str(i)) for i, row in enumerate(rows)], "drawn")
    strings, images = (
        torch.randint(0, 2, (n, WIDTH), generator=generator) - 0.5 for n in (20, IMAGES)
    )  # exact products
    return pairs, images, strings[drawn.flatten()]


@pytest.mark.parametrize(("rows", "columns"), [(510, 1024), (7, 1024), (7, 11), (1, 1)])
def test_every_part_of_a_survey_is_that_of_its_own_pass(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_ranks, "COCO_IMAGES", IMAGES)
    pairs, images, captions = pairs_and_vectors()
    method, temperatures = build("zero_shot", tiny_backbone("clip")), Temperatures(0.5, 0.2, 9, 9)
    alone = score(method, pairs, images, captions)
    wanted = alone.group_aware, alone.firsts, calibration(method, alone, temperatures), fold_recalls(alone, 5)
    monkeypatch.setattr(readers, "COLUMNS", columns)
    monkeypatch.setattr(readers.read_scores, "__kwdefaults__", {"block": rows})
    survey = Survey(pairs, divisors(method, "none", temperatures))
    together = score(method, pairs, images, captions, survey=survey)
    for direction, ranks in alone.ranks.items():
        for name, values in vars(ranks).items():
            assert np.array_equal(getattr(together.ranks[direction], name), values)
    group_aware, firsts, uncertainty, folded = wanted
    assert together.group_aware == group_aware
    assert [one.tolist() for one in together.firsts] == [one.tolist() for one in firsts]
    assert fold_recalls(together, 5) == folded
    found = calibration(method, together, temperatures)
    for direction, measures in uncertainty.items():
        for name, one in measures.items():
            assert [group.uncertainty for group in found[direction][name].bins] == pytest.approx(
                [group.uncertainty for group in one.bins], abs=1e-6
            )


def test_groups_are_those_of_a_loop() -> None:
    pairs, images, captions = pairs_and_vectors()
    strings = list(dict.fromkeys(pairs.captions))
    first = [pairs.captions.index(text) for text in strings]
    scores = (images @ captions[first].T).numpy()
    right = np.array([[text in pair.captions for text in strings] for pair in pairs])
    result = score(build("zero_shot", tiny_backbone("clip")), pairs, images, captions, survey=Survey(pairs))
    by_image, by_text = by_hand(scores, right), by_hand(scores.T, right.T)
    assert result.survey is not None
    found = result.survey.groups.by_image.ranks()
    for name, values in vars(by_image).items():
        assert np.array_equal(getattr(found, name), values), name
    place = [strings.index(text) for text in pairs.captions]
    assert result.group_aware["t2i"].r1 == pytest.approx(100 * hits(by_text, 1)[place].mean())
    assert result.group_aware["t2i"].r1 > result.t2i.r1


def test_a_survey_reads_the_scores_once() -> None:
    pairs, images, captions = pairs_and_vectors()
    method = build("zero_shot", tiny_backbone("clip"))
    result = score(method, pairs, images, captions, Inference(), Survey(pairs, divisors(method, "none")))
    unreadable = replace(result, scores=object())  # type: ignore[arg-type]
    assert unreadable.group_aware
    assert len(unreadable.firsts) == 2
    assert calibration(method, unreadable)
