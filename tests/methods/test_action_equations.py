"""The whole loss of ACT, computed a second time by the paper's equations from the two frozen encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear, normalize

from crosscue.backbones.protocol import ImageState, Prompts
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.action.config import ActionConfig
from crosscue.methods.action.knowledge import FrozenKnowledge, KnowledgeBatch, KnowledgeSource
from crosscue.methods.action.model import RANKING, Action
from crosscue.methods.action.modules import TripletEncoder
from crosscue.methods.action.prompts import VisualPrompts
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.training.optimisers import select_trainable
from tests.methods.formulas import require_equal_gradients
from tests.tiny import tiny_backbones

KNOWN = {
    "a man rides a horse": CaptionKnowledge(
        (Triplet("man", "riding", "horse"), Triplet("shirt", "is", "blue", "attribute")),
        ("he sits on it", "it looks blue"),
        "test",
    ),
    "a dog jumps": CaptionKnowledge((Triplet("dog", "jumping in", "air"),), ("its feet are off the ground",), "test"),
    "two dogs": CaptionKnowledge(
        (Triplet("dogs", "playing"), Triplet("dog", "biting", "ball"), Triplet("dog", "sees", "cat")),
        ("they run", "it has it in its teeth", "this one is beyond K"),
        "test",
    ),
    "a photo": CaptionKnowledge(),
    "in the air": CaptionKnowledge((Triplet("dog", "hangs in", "air"),), ("nothing is below it",), "test"),
}
CAPTIONS = [*KNOWN]
IMAGES = ["0", "1", "2", "3", "1"]
"""The last caption also belongs to the second image, so the two are no negatives of each other."""
MIXING, MARGIN, CANDIDATES, TRIPLETS, LAYER, DEEP = 0.3, 0.35, 2, 2, 1, 2
OPTIONS = {
    "mixing": MIXING,
    "margin": MARGIN,
    "candidates": CANDIDATES,
    "max_triplets": TRIPLETS,
    "aim_layer": LAYER,
    "deep_start": DEEP,
    "visual_prompts": 3,
    "adapter_width": 8,
}


def trained(tmp_path: Path, **options: object) -> Action:
    """A method whose trainable tensors have all moved, and whose temperature has left its bound."""
    ActionKnowledge(KNOWN).save(tmp_path / "known.jsonl")
    torch.manual_seed(0)
    method = build(
        "action", tiny_backbones["clip"](), {"knowledge": str(tmp_path / "known.jsonl"), **OPTIONS, **options}
    )
    assert isinstance(method, Action)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if method.learns(name) is not None:
                parameter.add_(0.3 * torch.randn_like(parameter))
        method.log_scale.fill_(6.0)
    return method.eval()


class Paper:
    """Equations of ACT for one image and its texts at a time, so that nothing is padded or masked."""

    def __init__(self, method: Action) -> None:
        self.backbone = method.backbone
        self.tensors = dict(method.named_parameters())
        self.layers = method.encoder.layers
        self.early = method.config.early_inject

    def part(self, name: str) -> Tensor:
        return self.tensors[name]

    def text(self, text: str) -> Tensor:
        return self.backbone.encode_text(self.backbone.tokenize([text])).pooled[0]

    def knowledge(self, caption: str) -> dict[str, Tensor]:
        """p_0^t and p_0^s of eq. 4-6: (K, W) each."""
        rows = list(zip(KNOWN[caption].triplets, KNOWN[caption].states, strict=True))[:TRIPLETS]
        pieces, owners, states = [], [], []
        for number, (triplet, state) in enumerate(rows):
            for slot, phrase in enumerate((triplet.subject, triplet.action, triplet.object)):
                if phrase:
                    tokens = self.backbone.tokenize([phrase])
                    word = self.backbone.word_embedding(tokens.ids[0, tokens.content[0]]).mean(0)  # eq. 4
                    word = linear(word, self.part("encoder.widen.weight"), self.part("encoder.widen.bias"))
                    pieces.append(word + self.part("encoder.slots")[slot] + self.part("encoder.indices")[number])
                    owners.append(number)
            about = ", ".join(filter(None, (triplet.subject, triplet.action, triplet.object)))
            states.append(self.text(f"Fine-grained state of the action triplet <{about}>: {state}"))
        read = self.layers(self.norm(torch.stack(pieces), "encoder.norm")[None])[0]  # eq. 5
        own = torch.tensor(owners)
        triplets = torch.stack([read[own == number].mean(0) for number in range(len(rows))])
        return {"triplets": self.adapter(triplets), "states": self.adapter(torch.stack(states))}

    def norm(self, vectors: Tensor, name: str) -> Tensor:
        return layer_norm(vectors, vectors.shape[-1:], self.part(f"{name}.weight"), self.part(f"{name}.bias"))

    def adapter(self, prompts: Tensor) -> Tensor:
        """Eq. 6."""
        centred = prompts - prompts.mean(-1, keepdim=True)
        normed = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed * self.part("adapter.norm.weight") + self.part("adapter.norm.bias")
        return (normed @ self.part("adapter.down.weight").T).clamp(min=0) @ self.part("adapter.up.weight").T

    def attention(self, queries: Tensor, keys: Tensor, name: str, heads: int) -> tuple[Tensor, Tensor]:
        """(M, W) and (n, W) -> (M, W), and the map (M, n) averaged over heads."""
        weight, bias = self.part(f"{name}.in_proj_weight").chunk(3), self.part(f"{name}.in_proj_bias").chunk(3)
        q, k, v = (
            linear(*one).unflatten(-1, (heads, -1)) for one in zip((queries, keys, keys), weight, bias, strict=True)
        )
        maps = (torch.einsum("mhd,nhd->hmn", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
        mixed = torch.einsum("hmn,nhd->mhd", maps, v).flatten(1)
        return linear(mixed, self.part(f"{name}.out_proj.weight"), self.part(f"{name}.out_proj.bias")), maps.mean(0)

    def interaction(self, patches: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Eq. 7-8 with the residuals: (M, W)."""
        normed, values, maps = self.norm(patches, "interaction.norm"), {}, {}
        for kind, own in prompts.items():
            read = (
                normed + self.attention(normed, self.norm(own, "interaction.norm"), f"interaction.cross.{kind}", 1)[0]
            )
            mixed, maps[kind] = self.attention(read, read, f"interaction.within.{kind}", 4)
            values[kind] = read + mixed
        both = torch.cat([values["triplets"], values["states"]], -1)
        hidden = gelu(linear(both, self.part("interaction.mlp.0.weight"), self.part("interaction.mlp.0.bias")))
        out = linear(hidden, self.part("interaction.mlp.2.weight"), self.part("interaction.mlp.2.bias"))
        return out + (MIXING * maps["triplets"] + (1 - MIXING) * maps["states"]) @ out

    def image(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """z_img of eq. 9: (3, S, S) -> (D,)."""
        state = self.backbone.image_state(pixels[None], LAYER)
        visual = {layer: self.part(f"visual.{layer}") for layer in (LAYER, DEEP)}
        known = [self.knowledge(text) for text in texts if KNOWN[text].triplets]
        if known:
            prompts = {kind: torch.cat([one[kind] for one in known]) for kind in ("triplets", "states")}
            patches = state.tokens[0, 1:] + self.interaction(state.tokens[0, 1:], prompts)
            state = ImageState(torch.cat([state.tokens[0, :1], patches])[None], LAYER)
            if self.early:
                beside = torch.cat([prompts["triplets"], prompts["states"]])
                visual = {layer: torch.cat([own, beside]) for layer, own in visual.items()}
        return normalize(self.backbone.encode_image(state, Prompts(visual)).pooled[0], dim=-1)

    def scores(self, pixels: Tensor, conditioning: str) -> tuple[list[Tensor], list[Tensor]]:
        """Cosines of every image, and of every caption, with its candidates; the right one comes first."""
        texts = [normalize(self.text(caption), dim=-1) for caption in CAPTIONS]
        rows = range(len(CAPTIONS))
        i2t, t2i = [], []
        for row in rows:
            wrong = [other for other in rows if IMAGES[other] != IMAGES[row]]
            if conditioning == "own":
                given = lambda other: [CAPTIONS[other]]  # noqa: E731
                i2t.append(torch.stack([self.image(pixels[row], given(row)) @ texts[other] for other in (row, *wrong)]))
                t2i.append(
                    torch.stack([self.image(pixels[other], given(other)) @ texts[row] for other in (row, *wrong)])
                )
                continue
            near = sorted(wrong, key=lambda other, row=row: -float(texts[row] @ texts[other]))[:CANDIDATES]
            chosen = [row, *near]
            together = [CAPTIONS[other] for other in chosen]
            given = lambda other, together=together: together if conditioning == "matched" else [CAPTIONS[other]]  # noqa: E731
            i2t.append(torch.stack([self.image(pixels[row], given(other)) @ texts[other] for other in chosen]))
            t2i.append(torch.stack([self.image(pixels[other], [CAPTIONS[row]]) @ texts[row] for other in chosen]))
        return i2t, t2i


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("conditioning", ["matched", "own", "pairwise"])
def test_both_losses_and_their_gradients_are_those_of_the_paper(tmp_path: Path, conditioning: str, early: bool) -> None:
    """ACT eq. 4-11. All of lambda, alpha, K and the bound of the temperature differ from their defaults or are at work."""
    method = trained(tmp_path, conditioning=conditioning, early_inject=early)
    learned = dict(select_trainable(method))
    pixels = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    data = Batch(pixels, CAPTIONS, IMAGES)
    first, right = method.losses(data), torch.zeros((), dtype=torch.int64)
    method.enter(RANKING, 0)
    second = method.losses(data)
    i2t, t2i = Paper(method).scores(pixels, conditioning)
    scale = method.log_scale.exp()
    assert float(scale.detach()) == pytest.approx(100)  # the bound of 1 / tau
    contrast = sum(cross_entropy(scale * row, right) for row in (*i2t, *t2i)) / 5  # eq. 10
    hinge = sum((row[1:].max() - row[0] + MARGIN).clamp(min=0) for row in (*i2t, *t2i)) / 5  # eq. 11
    torch.testing.assert_close(first["contrastive_loss"], contrast, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second["ranking_loss"], hinge, rtol=1e-4, atol=1e-5)
    assert 0.1 < hinge < contrast
    images = {name: tensor for name, tensor in learned.items() if name != "log_scale"}
    require_equal_gradients(first["contrastive_loss"], contrast, learned)
    require_equal_gradients(second["ranking_loss"], hinge, images)


@torch.no_grad()
def test_prompts_that_attend_to_patches(tmp_path: Path) -> None:
    """Eq. 7-8 the other way round (`aim_query=prompt`): images with two triplets and with one, so that one is padded."""
    method = trained(tmp_path, aim_query="prompt", aim_beside=False, early_inject=False)
    paper, width = Paper(method), method.backbone.image_width
    known = [paper.knowledge(caption) for caption in ("two dogs", "a dog jumps")]
    patches, counts = torch.randn(2, 6, width), [len(one["states"]) for one in known]
    assert counts == [2, 1]
    padded = {kind: torch.randn(2, 2, width) for kind in ("triplets", "states")}  # what is padded does not matter
    present = torch.tensor([[True, True], [True, False]])
    for row, one in enumerate(known):
        for kind, own in one.items():
            padded[kind][row, : counts[row]] = own
    assert method.interaction is not None
    found = method.interaction(patches, padded, present)
    for row, one in enumerate(known):
        normed, values, maps = paper.norm(patches[row], "interaction.norm"), [], []
        for kind in ("triplets", "states"):
            scaled = paper.norm(one[kind], "interaction.norm")
            read = scaled + paper.attention(scaled, normed, f"interaction.cross.{kind}", 1)[0]
            mixed, attended = paper.attention(read, read, f"interaction.within.{kind}", 4)
            values.append(read + mixed)
            maps.append(attended)
        hidden = gelu(
            linear(torch.cat(values, -1), paper.part("interaction.mlp.0.weight"), paper.part("interaction.mlp.0.bias"))
        )
        out = linear(hidden, paper.part("interaction.mlp.2.weight"), paper.part("interaction.mlp.2.bias"))
        wanted = (MIXING * maps[0] + (1 - MIXING) * maps[1]) @ out
        torch.testing.assert_close(found[row, : counts[row]], wanted, rtol=1e-3, atol=1e-4)


def drawn_images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


@torch.no_grad()
@pytest.mark.parametrize("options", [{"aim": "cat"}, {"aim_query": "prompt"}])
def test_tokens_beside_the_patches_enter_one_layer_and_are_passed_on(tmp_path: Path, options: dict[str, str]) -> None:
    method, pixels = trained(tmp_path, **options), drawn_images(1)
    paper, state = Paper(method), method.backbone.image_state(pixels, LAYER)
    prompts = paper.knowledge("two dogs")
    beside = torch.cat([prompts["triplets"], prompts["states"]])
    if method.interaction is not None:
        for parameter in method.interaction.mlp[-1].parameters():
            parameter.mul_(0.05)  # a layer hardly changes a long token
        given = {kind: own[None] for kind, own in prompts.items()}
        beside = method.interaction(state.tokens[:, 1:], given, torch.ones(1, 2, dtype=torch.bool))[0]
    tokens = torch.cat([state.tokens[0], beside])[None]
    visual = Prompts({layer: paper.part(f"visual.{layer}") for layer in (LAYER, DEEP)})
    wanted = method.backbone.encode_image(ImageState(tokens, LAYER), visual).pooled
    found = method.image_given_texts(pixels, [["two dogs"]])
    torch.testing.assert_close(found, normalize(wanted, dim=-1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_result_may_replace_the_patches(tmp_path: Path) -> None:
    """V alone, as printed (`aim_residual=False`): it does not start at zero, which would leave an image without content."""
    method, pixels = trained(tmp_path, aim_residual=False, early_inject=False), drawn_images(1)
    paper, state = Paper(method), method.backbone.image_state(pixels, LAYER)
    patches = paper.interaction(state.tokens[0, 1:], paper.knowledge("two dogs"))
    changed = ImageState(torch.cat([state.tokens[0, :1], patches])[None], LAYER)
    visual = Prompts({layer: paper.part(f"visual.{layer}") for layer in (LAYER, DEEP)})
    wanted = normalize(method.backbone.encode_image(changed, visual).pooled, dim=-1)
    found = method.image_given_texts(pixels, [["two dogs"]])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    for residual in (True, False):
        fresh = build("action", method.backbone, OPTIONS | {"aim_residual": residual})
        assert (fresh.interaction.mlp[-1].weight == 0).all() == residual


@torch.no_grad()
def test_without_knowledge_every_image_is_read_once_and_meets_the_same_candidates(tmp_path: Path) -> None:
    """The control: candidates of a caption are images, and those of an image are captions."""
    method, pixels = trained(tmp_path, triplets=False, states=False), drawn_images(5)
    images, texts = method.encode_image(pixels), method.encode_text(CAPTIONS)
    i2t, t2i = method.candidate_scores(Batch(pixels, CAPTIONS, IMAGES))
    for row in range(5):
        wrong = [other for other in range(5) if IMAGES[other] != IMAGES[row]]
        near = sorted(wrong, key=lambda other, row=row: -float(texts[row] @ texts[other]))[:CANDIDATES]
        chosen = [row, *near]
        torch.testing.assert_close(i2t[row], texts[chosen] @ images[row], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(t2i[row], images[chosen] @ texts[row], rtol=1e-3, atol=1e-5)
    assert (i2t - t2i)[:, 1:].abs().max() > 1e-3


@torch.no_grad()
def test_hand_crafted_texts_pass_the_adapter(tmp_path: Path) -> None:
    method = trained(tmp_path, hand_crafted=True)
    about = [
        "A photo capturing a dogs performing playing.",
        "A photo capturing a dog performing biting in relation to ball.",
    ]
    texts = [method.backbone.encode_text(method.backbone.tokenize([text])).pooled[0] for text in about]
    assert method.adapter is not None
    triplets, _ = method.caption_prompts(["two dogs"], training=False)["two dogs"]
    torch.testing.assert_close(triplets, method.adapter(torch.stack(texts)), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_joined_triplet_is_read_from_its_three_parts() -> None:
    """Two captions, one of which has a triplet without object; slots are in any order, and a part may have two pieces."""
    torch.manual_seed(0)
    encoder = TripletEncoder(6, 8, 3, 1, "concat_linear", True).eval()
    assert encoder.joined is not None
    assert encoder.indices is not None
    encoder.indices.normal_()
    where = (
        [(1, 0), (0, 0), (0, 1), (1, 1), (2, 1), (2, 1)],
        [(2, 0), (0, 0), (1, 0)],
    )  # slot and triplet of each piece
    members = [
        FrozenKnowledge(torch.randn(len(own), 6), *torch.tensor(own).T, torch.zeros(count, 4), torch.zeros(count, 0))
        for own, count in zip(where, (2, 1), strict=True)
    ]
    found = encoder(KnowledgeBatch.of(members))
    for row, (member, own) in enumerate(zip(members, where, strict=True)):
        widened, joined = encoder.widen(member.pieces), []
        for number in range(len(member)):
            parts = [
                sum(
                    (piece for piece, place in zip(widened, own, strict=True) if place == (slot, number)),
                    torch.zeros(8),
                )
                for slot in range(3)
            ]
            joined.append(encoder.joined(torch.cat(parts)) + encoder.indices[number])
        wanted = encoder.layers(encoder.norm(torch.stack(joined))[None])[0]
        torch.testing.assert_close(found[row, : len(member)], wanted, rtol=1e-4, atol=1e-5)


def test_hard_negatives_share_the_batch_of_an_image_unless_it_is_read_with_its_own_caption() -> None:
    backbone = tiny_backbones["clip"]()
    for conditioning, companions in (("matched", CANDIDATES), ("pairwise", CANDIDATES), ("own", 0)):
        assert build("action", backbone, OPTIONS | {"conditioning": conditioning}).companions == companions


def test_tokens_of_knowledge_stand_alone_where_there_are_no_visual_prompts(tmp_path: Path) -> None:
    method = trained(tmp_path, visual_prompts=0)
    beside = torch.randn(2, 3, method.backbone.image_width)
    prompts = method.visual.prompts(beside)
    assert prompts is not None
    assert min(prompts.layers) == LAYER
    assert all(torch.equal(tokens, beside) for tokens in prompts.layers.values())
    assert method.visual.prompts() is None


def test_layers_before_the_deep_ones_get_the_first_visual_tokens_beside_the_knowledge(tmp_path: Path) -> None:
    """Tokens that are given to a layer replace all earlier ones, so the visual tokens are given again too."""
    method = trained(tmp_path, aim_layer=0, deep_start=2)
    beside = torch.randn(2, 3, method.backbone.image_width)
    prompts = method.visual.prompts(beside)
    assert prompts is not None
    assert sorted(prompts.layers) == [0, 1, *range(2, method.backbone.image_layers)]
    for layer, tokens in prompts.layers.items():
        own = method.visual["0" if layer < 2 else str(layer)]
        for row in range(2):
            assert torch.equal(tokens[row], torch.cat([own, beside[row]]))


def test_what_is_added_to_pieces_starts_small() -> None:
    torch.manual_seed(0)
    encoder = TripletEncoder(64, 64, 4, 1, "seq3", True)
    visual = VisualPrompts(tiny_backbones["clip"](), ActionConfig(visual_prompts=20))
    for added in (encoder.slots, encoder.indices, visual["0"]):
        assert 0.01 < float(added.detach().std()) < 0.03
        assert abs(float(added.detach().mean())) < 0.01


def test_triplets_of_attributes_can_be_left_out(tmp_path: Path) -> None:
    known = KNOWN["a man rides a horse"]
    for attributes, actions in ((True, ["riding", "is"]), (False, ["riding"])):
        chosen = trained(tmp_path, attributes=attributes).reader.chosen(known)
        assert [triplet.action for triplet, _ in chosen] == actions


def test_knowledge_that_spacy_reads_replaces_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ActionKnowledge(KNOWN).save(tmp_path / "known.jsonl")
    read = {"a cat": CaptionKnowledge()}
    monkeypatch.setattr("crosscue.methods.action.knowledge.parsed_knowledge", lambda captions: read)
    source = KnowledgeSource(str(tmp_path / "known.jsonl"))
    source.prepare(["a photo"])
    source.prepare(["a cat"], "spacy")
    assert (source.opened, source.known) == ("spacy", read)
