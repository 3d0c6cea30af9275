"""Re-ranking with images that are read beside texts: against a loop, without the answer, and with its controls."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.errors import MethodError
from crosscue.evaluation.diagnostics import Questions
from crosscue.evaluation.measuring import evaluate, validation_metrics
from crosscue.evaluation.ranks import ranks, reranked
from crosscue.evaluation.recall import hits
from crosscue.evaluation.result import Retrieval
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.action.model import Action
from crosscue.methods.contract import Method
from crosscue.methods.registry import build
from crosscue.retrieval.conditioning import ConditionedImages
from crosscue.retrieval.encoding import embed_images
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import Scorer, rerank
from crosscue.retrieval.scores import Cosines
from crosscue.training.optimisers import select_trainable
from tests.tiny import COLOURS, tiny_backbones

N = 8
WHITE = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)


def gallery() -> tuple[Pairs, Tensor]:
    pixels = torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    unread = lambda: b""  # noqa: E731
    pairs = Pairs(
        Pair(EmbeddedImage(f"{i}.jpg", unread), (f"a {colour} thing", f"two {colour} things"), str(i))
        for i, colour in enumerate(COLOURS)
    )
    return pairs, pixels


@pytest.fixture
def method(tmp_path: Path) -> Action:
    """Untrained, with an interaction module that changes images, so that texts matter."""
    pairs, _ = gallery()
    known = {
        caption: CaptionKnowledge((Triplet("thing", "is", caption.split()[1], "attribute"),), (caption[::-1],), "test")
        for caption in pairs.captions
    }
    ActionKnowledge(known).save(tmp_path / "known.jsonl")
    torch.manual_seed(0)
    options = {"knowledge": str(tmp_path / "known.jsonl"), "aim_layer": 1, "deep_start": 2, "visual_prompts": 2}
    method = build("action", tiny_backbones["clip"](), options)
    assert isinstance(method, Action)
    with torch.no_grad():
        torch.nn.init.normal_(method.interaction.mlp[-1].weight)
    return method.eval()


class States:
    """Cached states that keep the numbers of the images that were read."""

    def __init__(self, method: Method, pixels: Tensor) -> None:
        self.state = method.backbone.image_state(pixels, method.image_use.layers(method.backbone))
        self.indices: list[int] = []

    def __getitem__(self, indices: Sequence[int], /):
        self.indices += list(indices)
        return self.state[torch.tensor(list(indices))]


def measured(method: Method, **options: object) -> Retrieval:
    pairs, pixels = gallery()
    return evaluate(method, pairs, States(method, pixels), Inference(**{"diagnostics": 0, **options}))


def pair_table(method: Action) -> Tensor:
    """(N, M) cos(f(x | {T}), z_txt) by a loop over all pairs, from pixels."""
    pairs, pixels = gallery()
    with torch.no_grad():
        texts = method.encode_text(pairs.captions)
        return torch.stack(
            [
                torch.stack([method.image_given_texts(pixels[i : i + 1], [[text]])[0] @ texts[j] for i in range(N)])
                for j, text in enumerate(pairs.captions)
            ],
            dim=1,
        )


def test_every_candidate_again_is_the_full_ranking(method: Action) -> None:
    table, owner = pair_table(method), torch.arange(N).repeat_interleave(2)
    result = measured(method, rerank=True, pooled=False, top=1000)
    for text in range(2 * N):
        assert result.ranks["t2i"].better[text] == int((table[:, text] > table[owner[text], text] + 1e-6).sum())
    for image in range(N):
        best = table[image, owner == image].max()
        assert result.ranks["i2t"].better[image] == int((table[image] > best + 1e-6).sum())
    assert "that is all candidates image → text and text → image" in result.protocol["re-ranking"]
    assert result.protocol["ceiling"] == {"i2t": 100.0, "t2i": 100.0}


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "pairwise"])
@pytest.mark.parametrize("preselect", ["clip", "tuned"])
def test_re_ranking_keeps_what_it_must(method: Action, pooled: bool, preselect: str) -> None:
    """k=1 keeps R@1, ranks beyond k keep the order of the pre-selection, and its R@k is the ceiling."""
    base = measured(method if preselect == "tuned" else build("zero_shot", method.backbone), rerank=False)
    one = measured(method, rerank=True, pooled=pooled, preselect=preselect, top=1)
    five = measured(method, rerank=True, pooled=pooled, preselect=preselect, top=5)
    for direction in ("i2t", "t2i"):
        before, after = base.ranks[direction], five.ranks[direction]
        assert (one.ranks[direction].better == before.better).all()
        assert ((before.better < 5) == (after.better < 5)).all()
        assert (before.better[before.better >= 5] == after.better[before.better >= 5]).all()
        assert five.protocol["ceiling"][direction] == pytest.approx(100 * hits(before, 5).mean())
        assert five.protocol["ceiling"][direction] < 100
    assert (base.ranks["t2i"].better != five.ranks["t2i"].better).any()


def test_validation_ranks_as_evaluation_does(method: Action) -> None:
    """The best epoch is chosen by what is measured later: with re-ranking."""
    pairs, pixels = gallery()
    found = validation_metrics(method, pairs, States(method, pixels))
    assert found == measured(method).metrics()
    assert found != measured(method, rerank=False).metrics()


def test_no_share_for_the_new_score_is_the_pre_selection(method: Action) -> None:
    object.__setattr__(method.config, "eta", 0.0)
    base, again = measured(build("zero_shot", method.backbone)), measured(method, rerank=True, pooled=False, top=6)
    assert (base.ranks["t2i"].better == again.ranks["t2i"].better).all()
    assert (base.ranks["i2t"].better == again.ranks["i2t"].better).all()


def test_memory_is_bounded_and_nothing_changes(method: Action) -> None:
    pairs, pixels = gallery()
    states = States(method, pixels)
    wide = evaluate(
        method, pairs, states, Inference(rerank=True, pooled=False, top=4, pairs_at_once=1000, diagnostics=0)
    )
    narrow = measured(method, rerank=True, pooled=False, top=4, pairs_at_once=3)
    for direction in ("i2t", "t2i"):
        assert (wide.ranks[direction].better == narrow.ranks[direction].better).all()
    assert len(states.indices) <= 6 * N  # embedded twice, sampled twice for the estimate, and once for each direction


def test_scorers_never_receive_what_is_right(method: Action) -> None:
    for scorer in (Scorer.__call__, ConditionedImages.__call__, Action.scores_given_texts):
        names = " ".join(inspect.signature(scorer).parameters)
        assert not any(word in names for word in ("owner", "target", "label", "right", "positive"))
    pairs, pixels = gallery()
    owner = torch.arange(N).repeat_interleave(2)
    with torch.no_grad():
        captions = method.encode_text(pairs.captions)
        images = embed_images(method, States(method, pixels), N)
    scored: list[list[float]] = []

    class Recorder(ConditionedImages):
        def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
            scores = super().__call__(image, caption, plain, image_first=image_first)
            scored.append(scores.flatten().tolist())
            return scores

    for pairing in (owner, owner.roll(4)):
        scorer = Recorder(method, States(method, pixels), captions, pairs.captions, True, 64)
        reranked(rerank(Cosines(images, captions), scorer, top=4), pairing, ranks(images, captions, pairing))
    assert scored[: len(scored) // 2] == scored[len(scored) // 2 :]


def test_pooled_scores_do_not_depend_on_the_order_of_candidates(method: Action) -> None:
    pairs, pixels = gallery()
    with torch.no_grad():
        captions = method.encode_text(pairs.captions)
        scorer = ConditionedImages(method, States(method, pixels), captions, pairs.captions, True, 64)
        image, caption = torch.zeros(1, 5, dtype=torch.int64), torch.tensor([[3, 1, 7, 12, 5]])
        scores = scorer(image, caption, torch.zeros(1, 5), image_first=True)
        turned = scorer(image, caption.flip(1), torch.zeros(1, 5), image_first=True)
    torch.testing.assert_close(scores, turned.flip(1), rtol=0, atol=1e-5)


def test_controls_of_an_untrained_model(method: Action) -> None:
    """A blank image leaves chance: exactly for captions, whose candidates become one and the same image."""
    result = measured(method, rerank=True, pooled=False, top=4, diagnostics=100)
    values = {one.name: one.value for one in result.diagnostics}
    assert values["text to image, blank image"] == pytest.approx(25.0)
    assert values["text to image, as it is"] != values["text to image, blank image"]
    assert values["text to image, swapped knowledge"] != values["text to image, blank image"]
    assert abs(values["copy index"]) < 0.1
    assert Retrieval.from_dict(result.to_dict()).diagnostics == result.diagnostics
    assert {"image to text, as it is", "image to text, swapped knowledge"} <= set(values)
    control = build("action", method.backbone, {"triplets": False, "states": False, "visual_prompts": 2})
    alone = measured(control.eval(), rerank=True, preselect="tuned", top=5, diagnostics=10)
    plain = measured(control, rerank=False)
    assert (alone.ranks["t2i"].better == plain.ranks["t2i"].better).all()
    assert {one.name: one.value for one in alone.diagnostics}["copy index"] == pytest.approx(0, abs=0.1)


def copying(method: Action) -> Action:
    """Train a method to copy a caption into a white image, and away from the caption of half the list further."""
    captions = gallery()[0].captions
    optimiser = torch.optim.Adam([p for _, p in select_trainable(method)], lr=0.003)
    texts = method.encode_text(captions)
    for _ in range(40):
        images = method.image_given_texts(WHITE.expand(2 * N, -1, -1, -1), [[text] for text in captions])
        optimiser.zero_grad()
        (-images * (texts - texts.roll(N, 0))).sum().backward()
        optimiser.step()
    return method.eval()


def test_the_copy_index_of_a_method_that_copies(method: Action) -> None:
    """Against a loop over five captions: cos(f(white | T), T) - cos(f(white | T), T')."""
    captions, differences = gallery()[0].captions, []
    result = measured(copying(method), rerank=True, pooled=False, top=3, diagnostics=5)
    for number in (0, 4, 8, 11, 15):
        with torch.no_grad():
            image = method.image_given_texts(WHITE, [[captions[number]]])[0]
            own, other = method.encode_text([captions[number], captions[(number + N) % (2 * N)]])
        differences.append(float(image @ own - image @ other))
    found = {one.name: one.value for one in result.diagnostics}["copy index"]
    assert found == pytest.approx(sum(differences) / 5, abs=1e-5)
    assert found > 0.05


def test_defaults_come_from_the_method(method: Action) -> None:
    inference = Inference().of(method)
    assert (inference.mode, inference.rerank, inference.pooled, inference.preselect) == ("plain", True, True, "clip")
    assert Inference().of(build("zero_shot", method.backbone)).rerank is False
    control = build("action", method.backbone, {"triplets": False, "states": False, "visual_prompts": 2})
    assert Inference().of(control).rerank is False
    with pytest.raises(MethodError, match="top is 0"):
        Inference(top=0).of(method)
    assert np.isfinite(measured(method).rsum)


@pytest.mark.parametrize(("seconds", "printed"), [(1.1, True), (0.1, False)])
def test_a_long_re_rank_is_announced_with_its_time(
    method: Action, monkeypatch: pytest.MonkeyPatch, seconds: float, printed: bool
) -> None:
    """Eight images are read in `seconds`; the whole reads 8 x 16 and 16 x 8 pairs, 32 times as many."""
    pairs, pixels = gallery()
    notes: list[str] = []
    clock = iter([0.0, 5.0, 10.0, 10.0 + 8 * seconds])  # the first reading, which also reads the text, does not count
    monkeypatch.setattr("crosscue.retrieval.conditioning.note", notes.append)
    monkeypatch.setattr("crosscue.retrieval.conditioning.time.monotonic", lambda: next(clock))
    with torch.no_grad():
        captions = method.encode_text(pairs.captions)
    ConditionedImages(method, pixels, captions, pairs.captions, pooled=False, at_once=64).announce(N, top=16)
    assert bool(notes) == printed
    if printed:
        assert "encodes images 256 times" in notes[0]
        assert "about 5 min" in notes[0]


def test_a_sample_of_queries_is_spread_over_those_with_an_answer() -> None:
    """Captions 1 and 6 are nearest to other images, so with one candidate they have no answer."""
    texts = torch.eye(8)
    texts[[1, 6]] = torch.eye(8)[[0, 7]]
    drawn = Questions.of(Cosines(torch.eye(8), texts), torch.arange(8), 1, 3, image_first=False)
    assert drawn is not None
    assert drawn.caption[:, 0].tolist() == [0, 3, 7]  # of 0, 2, 3, 4, 5, 7
    assert drawn.right.all()
