"""Actions of queries and of their wrong first candidates, read by spaCy."""

from __future__ import annotations

import pytest
import torch

from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.evaluation import action_gaps as gaps
from crosscue.evaluation.action_gaps import ActionGap, action_gaps
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import recall
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.reranking import Reranked
from crosscue.retrieval.scores import Cosines

CAPTIONS = ("A man is riding a horse.", "A woman is riding a bicycle.", "A dog is sleeping.", "A red car.")


def result_of(images: torch.Tensor) -> Retrieval:
    pairs = Pairs([Pair(EmbeddedImage(str(i), bytes), (text,), str(i)) for i, text in enumerate(CAPTIONS)])
    scores, owner = Cosines(images, torch.eye(4)), torch.arange(4)
    i2t, t2i = rank_scores(scores, owner)
    ranks = {"i2t": i2t, "t2i": t2i}
    return Retrieval(recall(i2t), recall(t2i), ranks, owner.numpy(), {"gallery": 4}, pairs, scores)


def test_only_wrong_candidates_with_other_verbs_count() -> None:
    pytest.importorskip("spacy")
    assert action_gaps(result_of(torch.eye(4))) == {}  # nothing is wrong
    horse_and_bicycle = result_of(torch.eye(4)[[1, 0, 2, 3]])
    assert action_gaps(horse_and_bicycle) == {"i2t": ActionGap(2, 0), "t2i": ActionGap(2, 0)}
    turned = action_gaps(result_of(torch.eye(4)[[1, 2, 0, 3]]))  # riding: riding, riding: sleeping, sleeping: riding
    assert turned == {"i2t": ActionGap(3, 2), "t2i": ActionGap(3, 2)}
    assert turned["i2t"].share == pytest.approx(200 / 3)
    with_car = action_gaps(result_of(torch.eye(4)[[3, 1, 2, 0]]))
    assert with_car == {}  # the car does nothing


def test_an_image_has_the_actions_of_all_its_captions() -> None:
    """One action in common is enough."""
    pytest.importorskip("spacy")
    texts = (CAPTIONS[2], CAPTIONS[0]), (CAPTIONS[1],)  # a sleeping dog and a ride; a ride
    pairs = Pairs([Pair(EmbeddedImage(str(i), bytes), own, str(i)) for i, own in enumerate(texts)])
    scores = Cosines(torch.eye(2), torch.tensor([[0, 1.0], [0, 0.9], [1.0, 0]]))  # all first candidates are wrong
    i2t, t2i = rank_scores(scores, torch.tensor(pairs.caption_owner))
    owner, protocol = torch.tensor(pairs.caption_owner).numpy(), {"gallery": 2}
    result = Retrieval(recall(i2t), recall(t2i), {"i2t": i2t, "t2i": t2i}, owner, protocol, pairs, scores)
    assert action_gaps(result) == {"i2t": ActionGap(2, 1), "t2i": ActionGap(3, 1)}  # the sleeping dog alone


def test_re_ranked_candidates_are_the_last_ones() -> None:
    pytest.importorskip("spacy")
    plain = result_of(torch.eye(4))
    two = torch.arange(4)[:, None].repeat(1, 2)
    other = torch.stack([torch.arange(4), torch.tensor([2, 1, 0, 3])], 1)  # the horse and the dog change places
    worse = torch.tensor([[0.0, 1.0]]).repeat(4, 1)
    again = (Reranked(two, other, worse), Reranked(other, two, worse))
    object.__setattr__(plain, "again", again)
    assert action_gaps(plain) == {"i2t": ActionGap(2, 2), "t2i": ActionGap(2, 2)}


def test_without_spacy_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "unread", lambda: "absent")
    assert action_gaps(result_of(torch.eye(4)[[1, 2, 0, 3]])) == {}
