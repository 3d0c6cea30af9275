"""ACT against the paper: what the knowledge changes, what it must not, and what each stage learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from crosscue.backbones.protocol import Backbone, ImageState
from crosscue.errors import CrosscueError, DataError, MethodError
from crosscue.knowledge.actions import parser
from crosscue.knowledge.actions.parser import parsed_knowledge
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.losses.hinge import triplet_hinge
from crosscue.methods.action import model
from crosscue.methods.action.config import ActionConfig
from crosscue.methods.action.knowledge import KnowledgeBatch, hand_crafted
from crosscue.methods.action.model import Action
from crosscue.methods.action.modules import AdaptiveInteraction
from crosscue.methods.action.prompts import VisualPrompts
from crosscue.methods.capabilities import require
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.testing import eight_pairs, step
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import select_trainable
from crosscue.training.schedules import scheduler
from crosscue.training.stages import Plan
from tests.tiny import colour_knowledge, tiny_backbones

RIDES = Triplet("man", "riding", "horse")
JUMPS = Triplet("dog", "jumping in", "air")
BLUE = Triplet("shirt", "is", "blue", "attribute")
KNOWN = {
    "a man rides a horse": CaptionKnowledge((RIDES, BLUE), ("he sits on it", "it looks blue"), "test"),
    "a dog jumps": CaptionKnowledge((JUMPS,), ("its feet are off the ground",), "test"),
    "two dogs": CaptionKnowledge(
        (Triplet("dogs", "playing"), JUMPS, RIDES), ("they run", "feet in the air", "he sits"), "test"
    ),
    "a photo": CaptionKnowledge(),
}
MAN, DOG, DOGS, NULL = KNOWN


@pytest.fixture(params=sorted(tiny_backbones))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbones[request.param]()


@pytest.fixture
def known(tmp_path: Path) -> str:
    ActionKnowledge(KNOWN).save(tmp_path / "known.jsonl")
    return str(tmp_path / "known.jsonl")


def built(known: str, backbone: Backbone | None = None, **options: object) -> Action:
    torch.manual_seed(0)
    chosen = {"knowledge": known, "visual_prompts": 2, "deep_start": 1, "candidates": 2, "adapter_width": 8}
    method = build("action", backbone or tiny_backbones["clip"](), {**chosen, **options})
    assert isinstance(method, Action)
    return method


def opened(method: Action) -> Action:
    """The method with an interaction module that changes images, as training leaves it."""
    assert method.interaction is not None
    torch.manual_seed(1)
    with torch.no_grad():
        torch.nn.init.normal_(method.interaction.mlp[-1].weight, std=0.2)
    return method.eval()


def drawn_images(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def read(method: Action, *given: list[str]) -> Tensor:
    with torch.no_grad():
        return method.image_given_texts(drawn_images(len(given)), given)


def batch(count: int = 4) -> Batch:
    captions = [MAN, DOG, DOGS, NULL][:count]
    return Batch(drawn_images(count), captions, [str(number) for number in range(count)])


def close(left: Tensor, right: Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(left, right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_untrained_module_is_visual_prompt_tuning_and_without_prompts_the_backbone(
    backbone: Backbone, known: str, layer: int
) -> None:
    method = built(known, backbone, aim_layer=layer, early_inject=False).eval()
    alone = method.encode_image(drawn_images())
    assert close(read(method, [MAN], [DOG, DOGS], [DOGS]), alone)
    assert not close(alone, build("zero_shot", backbone).encode_image(drawn_images()), 1e-3)
    bare = built(known, backbone, aim_layer=layer, visual_prompts=0, early_inject=False).eval()
    assert close(read(bare, [MAN], [DOG], [DOGS]), build("zero_shot", backbone).encode_image(drawn_images()))
    assert not close(read(opened(bare), [MAN], [DOG], [DOGS]), bare.encode_image(drawn_images()), 1e-3)


@pytest.mark.parametrize("options", [{}, {"aim": "cat"}, {"early_inject": False}, {"aim_query": "prompt"}])
def test_null_knowledge_leaves_the_image_alone(known: str, options: dict) -> None:
    method = built(known, **options)
    method = opened(method) if method.interaction is not None else method.eval()
    mixed = read(method, [NULL], [MAN], [NULL])
    alone = method.encode_image(drawn_images())
    assert close(mixed[0], alone[0])
    assert close(mixed[2], alone[2])
    assert not close(mixed[1], alone[1], 1e-3)
    assert close(read(method, [NULL], [NULL]), alone[:2])


@pytest.mark.parametrize(
    "options",
    [{}, {"aim": "cat"}, {"early_inject": False}, {"triplet_input": "all_tokens"}, {"triplet_input": "concat_linear"}],
)
def test_padding_changes_nothing(known: str, options: dict) -> None:
    """An image's reading does not depend on how much is known about the captions of the others, nor K on unused places."""
    method = built(known, triplet_index=False, **options)
    method = opened(method) if method.interaction is not None else method.eval()
    beside = read(method, [DOG], [DOGS, MAN], [MAN])
    assert close(beside[0], read(method, [DOG])[0])
    wide = built(known, triplet_index=False, max_triplets=7, **options)
    wide.load_learned_state(method.learned_state())
    assert close(read(wide.eval(), [DOG], [DOGS, MAN], [MAN]), beside)


def test_the_order_of_triplets_and_of_captions(known: str) -> None:
    reverse = {
        caption: dataclasses.replace(one, triplets=one.triplets[::-1], states=one.states[::-1])
        for caption, one in KNOWN.items()
    }
    ActionKnowledge(reverse).save(Path(known).with_name("reverse.jsonl"))
    for indexed in (False, True):
        method = opened(built(known, triplet_index=indexed))
        before = read(method, [DOGS], [MAN])
        assert close(read(method, [DOGS, MAN]), read(method, [MAN, DOGS]))
        method.require(list(KNOWN), str(Path(known).with_name("reverse.jsonl")))
        assert close(read(method, [DOGS], [MAN]), before, 1e-6) != indexed


@pytest.mark.parametrize("patches", [49, 196])
@pytest.mark.parametrize("known_count", [1, 5])
def test_attention_of_patches_is_mixed_and_its_rows_sum_to_one(
    backbone: Backbone, patches: int, known_count: int
) -> None:
    """ACT eq. 7-8: M x M for any number of prompts."""
    torch.manual_seed(0)
    width = backbone.image_width
    module = AdaptiveInteraction(backbone, 1, ("triplets", "states"), 0.7, closed=False)
    tokens = torch.randn(2, patches, width)
    prompts = {kind: torch.randn(2, known_count, width) for kind in module.kinds}
    present = torch.ones(2, known_count, dtype=torch.bool)
    values, attention = module.attend(tokens, prompts, present)
    assert attention.shape == (2, patches, patches)
    assert values.shape == (2, patches, 2 * width)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, patches))
    own = module.mlp(values)
    torch.testing.assert_close(module(tokens, prompts, present), own + attention @ own)
    module.beside = False
    torch.testing.assert_close(module(tokens, prompts, present), attention @ own)
    module.mixing = 1.0
    only, _ = module.attend(tokens, {**prompts, "states": torch.zeros_like(prompts["states"])}, present)
    torch.testing.assert_close(only[..., :width], values[..., :width])
    first = module.attend(tokens, prompts, present)[1]
    again = module.attend(tokens, {**prompts, "states": torch.randn(2, known_count, width)}, present)[1]
    torch.testing.assert_close(first, again)


def test_self_attention_starts_as_that_of_the_frozen_layer(backbone: Backbone) -> None:
    """Without prompts to read, a layer's own attention block comes out: N(E) and its attention over N(E)."""
    module = AdaptiveInteraction(backbone, 1, ("triplets", "states"), 0.7)
    tokens, prompts = torch.randn(2, 16, backbone.image_width), torch.randn(2, 3, backbone.image_width)
    with torch.no_grad():
        for cross in module.cross.values():
            cross.out_proj.weight.zero_()
        values, _ = module.attend(tokens, dict.fromkeys(module.kinds, prompts), torch.ones(2, 3, dtype=torch.bool))
        frozen = backbone.image.vision_model.encoder.layers[1]
        normed = frozen.layer_norm1(tokens)
        expected = normed + frozen.self_attn(normed)[0]
    torch.testing.assert_close(values, torch.cat([expected, expected], -1), atol=1e-5, rtol=1e-5)


def test_a_single_source_takes_the_whole_map(known: str) -> None:
    for options, kinds, share in (({"states": False}, ("triplets",), 1.0), ({"triplets": False}, ("states",), 0.0)):
        method = opened(built(known, **options))
        assert method.interaction is not None
        assert (method.interaction.kinds, method.interaction.mixing) == (kinds, share)
        tokens, prompts = torch.randn(1, 5, 64), {kinds[0]: torch.randn(1, 2, 64)}
        values, attention = method.interaction.attend(tokens, prompts, torch.ones(1, 2, dtype=torch.bool))
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 5))
        silent = slice(64, None) if kinds == ("triplets",) else slice(0, 64)
        assert values[..., silent].abs().sum() == 0


def test_interaction_with_the_patches_is_what_the_equations_say(known: str) -> None:
    """The conditioned embedding, recomputed from its parts: E + V replaces E, the class token stays."""
    method = opened(built(known, aim_layer=1, early_inject=False))
    backbone, state = method.backbone, method.backbone.image_state(drawn_images(1), 1)
    batch_ = KnowledgeBatch.of(method.reader([DOGS]))
    with torch.no_grad():
        prompts = {"triplets": method.adapter(method.encoder(batch_)), "states": method.adapter(batch_.states)}
        assert prompts["states"].shape == (1, 3, backbone.image_width)
        patches = state.tokens[:, 1:]
        values, attention = method.interaction.attend(patches, prompts, batch_.present)
        own = method.interaction.mlp(values)
        changed = torch.cat([state.tokens[:, :1], patches + own + attention @ own], 1)
        expected = backbone.encode_image(ImageState(changed, 1), method.visual.prompts()).pooled
    assert close(read(method, [DOGS]), torch.nn.functional.normalize(expected, dim=-1))


def test_parameter_counts_at_clips_size() -> None:
    """The table of the paper's modules at ViT-B/32: width 768, embeddings 512."""
    from crosscue.methods.action.modules import PromptAdapter, TripletEncoder

    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(PromptAdapter(512, 64, 768)) == 82_944
    encoder = TripletEncoder(512, 512, 4, 2, "seq3", True)
    assert count(encoder) == pytest.approx(6.31e6, rel=0.01)


@pytest.mark.parametrize(("share", "sets"), [(False, 2), (True, 1)])
def test_parameter_count_of_the_interaction_module(backbone: Backbone, share: bool, sets: int) -> None:
    module, width = AdaptiveInteraction(backbone, 0, ("triplets", "states"), 0.7, share=share), backbone.image_width
    attentions, mlp, norm = 2 * sets * (4 * width**2 + 4 * width), 3 * width**2 + 2 * width, 2 * width
    assert sum(parameter.numel() for parameter in module.parameters()) == attentions + mlp + norm


def test_each_stage_trains_its_part(known: str) -> None:
    method = built(known)
    select_trainable(method)
    plan = Plan(method.stages, 3)
    found = []
    for epoch in (0, 1, 2):
        plan.enter(method, epoch)
        method.zero_grad()
        losses = method.losses(batch())
        sum(value for key, value in losses.items() if key.endswith("_loss")).backward()
        found.append(
            (
                method.stage,
                sorted(losses),
                {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None},
            )
        )
    everything = {"visual", "log_scale", "encoder", "adapter", "interaction"}
    assert found == [
        ("contrastive", ["contrastive_loss", "scale"], everything),
        ("ranking", ["ranking_loss"], {"interaction"}),
        ("ranking", ["ranking_loss"], {"interaction"}),
    ]
    assert sorted(built(known, strategy="combined").losses(batch())) == ["contrastive_loss", "ranking_loss", "scale"]


def test_all_strategies_have_the_same_schedule(known: str) -> None:
    """The control of Table 5 differs in its losses alone: the warm-up lies inside each stage, and the second is slower."""
    rates = []
    for strategy in ("two_stage", "one_stage", "combined"):
        method = built(known, strategy=strategy, second_stage_epochs=1)
        config = TrainingConfig(epochs=4, lr=1.0, optimizer="sgd", schedule="cosine", warmup_steps=8)
        stepper = torch.optim.SGD([method.log_scale], lr=1.0)
        schedule = scheduler(stepper, config, 5, Plan(method.stages, 4))
        rates.append([])
        for _ in range(20):
            rates[-1].append(schedule.get_last_lr()[0])
            stepper.step()
            schedule.step()
    assert rates[0] == rates[1] == rates[2]
    assert rates[0][:6] == pytest.approx([number / 6 for number in range(1, 7)])  # 8 * 3 / 4 steps of warm-up
    assert rates[0][14] < 0.1
    assert rates[0][15:17] == pytest.approx([0.1, 0.2])  # two steps of warm-up up to 0.2
    assert rates[0][19] < rates[0][17]


@pytest.mark.parametrize(
    ("strategy", "epochs"),
    [
        ("two_stage", {0: None, 1: None, 2: "hardest"}),
        ("combined", {0: "semihard", 1: "hardest", 2: "hardest"}),
        ("one_stage", {0: None, 1: None, 2: None}),
    ],
)
def test_semihard_negatives_only_at_the_start_of_a_run(
    known: str, strategy: str, epochs: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second stage of one epoch has the hardest negatives."""
    chosen: list[str] = []
    real = model.triplet_hinge
    monkeypatch.setattr(model, "triplet_hinge", lambda s, m, hard: chosen.append(hard) or real(s, m, hard))
    method = built(known, strategy=strategy, second_stage_epochs=1)
    plan = Plan(method.stages, 3)
    for epoch, kind in epochs.items():
        chosen.clear()
        plan.enter(method, epoch)
        method.losses(batch())
        assert set(chosen) == ({kind} if kind else set())


def test_the_temperature_starts_as_the_backbone_s_and_stays_below_100(backbone: Backbone, known: str) -> None:
    method = built(known, backbone)
    assert float(method.log_scale.detach().exp()) == pytest.approx(min(float(backbone.logit_scale), 100), rel=1e-5)
    with torch.no_grad():
        method.log_scale.fill_(9.0)
    assert float(method.losses(batch())["scale"]) == pytest.approx(100, rel=1e-5)


def test_a_state_stands_alone_where_the_tower_averages_words(backbone: Backbone, known: str) -> None:
    text = "it looks blue"
    if backbone.family != "dual":
        text = f"Fine-grained state of the action triplet <shirt, is, blue>: {text}"
    for template, expected in {"family": text, "state": "it looks blue"}.items():
        (knowledge,) = built(known, backbone, state_template=template).reader([MAN])
        assert close(knowledge.states[1], backbone.encode_text(backbone.tokenize([expected])).pooled[0], 1e-4)


def test_early_layers_get_the_adapted_prompts_as_tokens(known: str) -> None:
    """Before training, the tokens are all that the knowledge changes."""
    for early in (True, False):
        method = built(known, early_inject=early).eval()
        assert close(read(method, [MAN], [DOG]), method.encode_image(drawn_images(2)), 1e-4) != early


@pytest.mark.parametrize("visual", [0, 3])
def test_every_layer_from_the_first_on_gets_the_tokens(backbone: Backbone, visual: int) -> None:
    """The visual tokens of a layer before deep_start are the first ones; the last layers have their own."""
    last = backbone.image_layers - 1
    prompts = VisualPrompts(backbone, ActionConfig(aim_layer=0, deep_start=last, visual_prompts=visual))
    beside = torch.randn(2, 5, backbone.image_width)
    given = prompts.prompts(beside)
    assert given is not None
    assert sorted(given.layers) == list(range(last + 1))
    for layer, tokens in given.layers.items():
        assert tokens.shape == (2, visual + 5, backbone.image_width)
        assert torch.equal(tokens[:, visual:], beside)
        if visual:
            own = prompts[str(layer if layer == last else 0)]
            assert torch.equal(tokens[1, :visual], own)


@pytest.mark.parametrize("kind", ["hardest", "semihard", "mean"])
def test_hinge_against_a_loop(kind: str) -> None:
    scores = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    scores[2, 3] = scores[4, 1] = -torch.inf
    scores[5, 1:] = -torch.inf
    expected = []
    for right, *others in scores.tolist():
        wrong = [score for score in others if score > -torch.inf]
        farther = [score for score in wrong if score < right]
        chosen = {"hardest": wrong, "semihard": farther or [min(wrong, default=0)], "mean": wrong}[kind]
        hinges = [max(0.0, (1 - right) - (1 - score) + 0.3) for score in chosen] if wrong else [0.0]
        expected.append(sum(hinges) / len(hinges) if kind == "mean" else max(hinges))
    assert float(triplet_hinge(scores, 0.3, kind)) == pytest.approx(sum(expected) / 6, abs=1e-6)
    satisfied = torch.tensor([[0.9, 0.5, 0.1], [0.4, -0.2, -torch.inf]])
    assert triplet_hinge(satisfied, 0.3, kind) == 0


def test_both_directions_and_their_candidates(known: str) -> None:
    """matched: the right one first, conditioned as at test time, by a loop over pairs."""
    method = opened(built(known, candidates=2))
    data = batch()
    with torch.no_grad():
        i2t, t2i = method.candidate_scores(data)
        texts = method.encode_text(data.captions)
        near = (texts @ texts.T).fill_diagonal_(-9).topk(2, dim=1).indices
        for row, caption in enumerate(data.captions):
            others = [row, *near[row].tolist()]
            given = [data.captions[number] for number in others]
            pooled = method.image_given_texts(data.images[row : row + 1], [given])[0]
            assert close(i2t[row], texts[others] @ pooled)
            each = method.image_given_texts(data.images[others], [[caption]] * 3)
            assert close(t2i[row], each @ texts[row])
    twice = dataclasses.replace(data, captions=[MAN, MAN, DOG, DOGS])
    barred = method.candidate_scores(twice)[0]
    assert torch.isinf(barred).sum() == 0  # two others remain, so the equal caption is not among them
    for few in method.candidate_scores(Batch(drawn_images(2), [MAN, MAN], ["0", "1"])):
        assert torch.isinf(few[:, 1]).all()


@torch.no_grad()
def test_an_equal_caption_is_no_candidate_and_no_knowledge(known: str) -> None:
    """Three pairs, of which two have one caption: the images of these two are read with two captions, the third with three."""
    method, images = opened(built(known, candidates=2)), drawn_images(3)
    i2t, t2i = method.candidate_scores(Batch(images, [MAN, MAN, DOG], ["0", "1", "2"]))
    man, dog = method.encode_text([MAN, DOG])
    none = torch.tensor(-torch.inf)
    for row in (0, 1):
        image = method.image_given_texts(images[row : row + 1], [[MAN, DOG]])[0]
        assert close(i2t[row], torch.stack([image @ man, image @ dog, none]))
        own, other = method.image_given_texts(images[[row, 2]], [[MAN], [MAN]])
        assert close(t2i[row], torch.stack([own @ man, other @ man, none]))
    image = method.image_given_texts(images[2:], [[DOG, MAN, MAN]])[0]
    assert close(i2t[2], torch.stack([image @ dog, image @ man, image @ man]))


def test_own_conditioning_is_the_paper_as_printed(known: str) -> None:
    method = opened(built(known, conditioning="own"))
    data = batch()
    with torch.no_grad():
        images = method.image_given_texts(data.images, [[caption] for caption in data.captions])
        cosines = images @ method.encode_text(data.captions).T
        scale = method.log_scale.exp()
        target = torch.arange(4)
        expected = torch.nn.functional.cross_entropy(scale * cosines, target)
        expected += torch.nn.functional.cross_entropy(scale * cosines.T, target)
        assert float(method.losses(data)["contrastive_loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_cached_states_and_remembered_captions_give_the_same(known: str) -> None:
    method = opened(built(known, aim_layer=1))
    given = [[MAN], [DOG, DOGS], [NULL]]
    first = read(method, *given)
    assert set(method.caption_prompts.memory.known) == set(KNOWN)
    with torch.no_grad():
        state = method.backbone.image_state(drawn_images(), method.image_use.layers(method.backbone))
        assert close(method.image_given_texts(state, given), first, 1e-6)
    method.caption_prompts.memory.forget()
    assert torch.equal(read(method, *given), first)
    with torch.no_grad():
        for parameter in method.adapter.parameters():
            parameter.copy_(torch.randn_like(parameter))
    assert not close(read(method.eval(), *given), first, 1e-4)  # eval() forgets what other tensors made


def test_hand_crafted_texts_and_states_are_read_by_the_frozen_tower(known: str) -> None:
    assert hand_crafted(RIDES) == "A photo capturing a man performing riding in relation to horse."
    assert hand_crafted(Triplet("dogs", "playing")) == "A photo capturing a dogs performing playing."
    method = built(known, hand_crafted=True)
    assert method.encoder is None
    encode = lambda text: method.backbone.encode_text(method.backbone.tokenize([text])).pooled[0]  # noqa: E731
    (knowledge,) = method.reader([MAN])
    assert close(knowledge.crafted[0], encode(hand_crafted(RIDES)), 1e-4)
    assert close(
        knowledge.states[1], encode("Fine-grained state of the action triplet <shirt, is, blue>: it looks blue"), 1e-4
    )
    assert len(built(known, attributes=False).reader([MAN])[0]) == 1
    assert len(built(known, max_triplets=2).reader([DOGS])[0]) == 2


def test_enriched_captions_are_averages(known: str) -> None:
    method = built(known, text_enrich="avg")
    (knowledge,) = method.reader([MAN])
    plain = method.backbone.encode_text(method.backbone.tokenize([MAN])).pooled
    parts = torch.nn.functional.normalize(torch.cat([plain, knowledge.states]), dim=-1)
    assert close(method.text_features([MAN])[0], parts.mean(0))
    assert close(method.encode_text([NULL]), build("zero_shot", method.backbone).encode_text([NULL]))


def test_word_embeddings_of_a_triplet_are_means_of_pieces(known: str) -> None:
    method = built(known)
    (knowledge,) = method.reader([DOG])
    tokens = method.backbone.tokenize(["jumping in"])
    words = method.backbone.word_embedding(tokens.ids[0, tokens.content[0]])
    assert len(words) > 2
    assert close(knowledge.pieces[1], words.mean(0))
    assert knowledge.slot.tolist() == [0, 1, 2]
    every = built(known, triplet_input="all_tokens").reader([DOG])[0]
    assert close(every.pieces[every.slot == 1], words)
    assert built(known).reader([DOGS])[0].triplet.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]  # no object, no piece


def test_without_a_source_the_error_names_the_command() -> None:
    with pytest.raises(DataError, match=r"--options.knowledge FILE.jsonl.*crosscue describe triplets SOURCE --out"):
        built("").require([MAN])
    built("", triplets=False, states=False).require([MAN])  # the control uses no knowledge


def test_spacy_reads_captions_when_they_are_needed(known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = built("spacy")
    method.require([MAN, MAN])
    assert method.source([MAN, DOG]) == [known for _, known in parsed_knowledge([MAN, DOG])]
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    parser.load_parser.cache_clear()
    with pytest.raises(CrosscueError, match=r"pip install 'crosscue\[spacy\]'"):
        built("spacy").require([MAN])
    method.require([MAN], known)
    assert method.source([MAN]) == [KNOWN[MAN]], "a file replaces what spaCy read"


def test_knowledge_that_is_missing_or_not_the_run_s(known: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 2 captions have no action knowledge.*crosscue describe triplets"):
        built(known).require([MAN, "never seen"])
    with pytest.raises(DataError, match=r"no such knowledge file.*--knowledge FILE"):
        built(str(tmp_path / "gone.jsonl")).require([MAN])
    run = built(known)
    run.require([MAN])
    saved = {name: tensor.clone() for name, tensor in run.learned_state().items()}
    again = built(known)
    again.load_learned_state(saved)
    again.require([MAN])
    ActionKnowledge({MAN: KNOWN[DOG]}).save(known)
    other = built(known)
    other.load_learned_state(saved)
    with pytest.raises(DataError, match=r"not the knowledge the run was trained with.*--knowledge FILE"):
        other.require([MAN])
    late = built(known)
    late.require([MAN])
    with pytest.raises(DataError, match="not the knowledge the run was trained with"):
        late.load_learned_state(saved)
    named = built(known)
    named.load_learned_state(saved)
    named.require([MAN], known)  # named for these captions: nothing to compare with
    control = built("nowhere.jsonl", triplets=False, states=False)
    control.require(["anything"])
    with pytest.raises(MethodError, match="uses no knowledge"):
        require(build("zero_shot", tiny_backbones["clip"]()), [MAN], known)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aim_layer": 3}, "layers 0 to 2"),
        ({"triplets": False, "states": False, "visual_prompts": 0}, "nothing would be learned"),
        ({"triplets": False, "hand_crafted": True}, "triplets is off"),
        ({"mixing": 1.5}, "between 0 and 1"),
        ({"candidates": 0}, "at least 1"),
    ],
)
def test_options_that_contradict_one_another(known: str, options: dict, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        built(known, **options)


@pytest.mark.slow
@pytest.mark.parametrize("blank", [False, True])
def test_own_can_copy_the_caption_and_matched_cannot(blank: bool) -> None:
    """The shortcut of ACT as printed: without any image content, `own` solves its own training task and `matched` does not.

    With images, both learn to look at them.
    """
    fits, blanks = {}, {}
    for conditioning in ("matched", "own"):
        data = eight_pairs(tiny_backbones["dual"]())
        white = dataclasses.replace(data, images=torch.full_like(data.images, 255))
        shown = white if blank else data
        method = built(
            str(colour_knowledge()), tiny_backbones["dual"](), aim_layer=1, candidates=7, conditioning=conditioning
        )
        optimiser = torch.optim.AdamW([p for _, p in select_trainable(method)], lr=0.002, weight_decay=0)
        for _ in range(1 if blank and conditioning == "matched" else 4):
            for _ in range(50):
                step(method, shown, optimiser)
            fits[conditioning] = first(method, shown)
            if fits[conditioning] > (0.4 if blank else 0.99):
                break
        blanks[conditioning] = first(method, white)
    if blank:
        assert fits["own"] > 0.4
        assert fits["matched"] <= 0.25  # one in eight by chance
    else:
        assert fits == {"matched": 1.0, "own": 1.0}
        assert max(blanks.values()) <= 0.25  # one in eight by chance


def first(method: Action, data: Batch) -> float:
    """Returns how often the right candidate is ahead of all others, in both directions; ties are no success."""
    with torch.no_grad():
        return float(
            torch.cat([(scores[:, :1] > scores[:, 1:] + 1e-6).all(1) for scores in method.candidate_scores(data)])
            .float()
            .mean()
        )


@pytest.mark.parametrize("options", [{"aim": "cat"}, {"triplets": False, "states": False}])
def test_visual_prompts_learn_in_the_second_stage_where_there_is_no_module(known: str, options: dict[str, Any]) -> None:
    method = built(known, **options)
    select_trainable(method)
    plan, learned = Plan(method.stages, 3), []
    for epoch in (0, 2):
        plan.enter(method, epoch)
        learned.append({name.split(".")[0] for name, one in method.named_parameters() if one.requires_grad})
    assert learned[0] >= {"visual", "log_scale"}
    assert learned[1] == {"visual"}
