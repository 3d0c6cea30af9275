"""CoOp, CLIP-Adapter, MaPLe, LoRA, linear probe, full fine-tuning: what each is by definition, beyond the grid."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from crosscue.backbones.protocol import Backbone, Prompts
from crosscue.errors import MethodError, RunError
from crosscue.losses.contrastive import contrastive
from crosscue.methods.clip_adapter import Bottleneck, ClipAdapterConfig
from crosscue.methods.contract import Batch
from crosscue.methods.dual_prompt import DualPromptLearner
from crosscue.methods.full_ft import Change
from crosscue.methods.maple import MapleConfig
from crosscue.methods.registry import build
from crosscue.testing import eight_pairs, embeddings, step
from crosscue.training.optimisers import select_trainable
from tests.tiny import tiny_backbones

TEXTS = ["a red thing", "two blue things on the grey thing", "a cat"]


@pytest.fixture(params=sorted(tiny_backbones))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbones[request.param]()


def trained(name: str, backbone: Backbone, options: dict[str, Any] | None = None) -> Any:
    """A method two large steps away from where it starts."""
    torch.manual_seed(0)
    method = build(name, backbone, options)
    optimiser = torch.optim.SGD([p for _, p in select_trainable(method)], lr=0.1)
    for _ in range(2):
        step(method, eight_pairs(backbone), optimiser)
    return method


# --- CoOp -------------------------------------------------------------------------------------------------------------


def test_coop_without_context_is_the_backbone(backbone: Backbone) -> None:
    coop, plain = build("coop", backbone, {"context_tokens": 0}), build("zero_shot", backbone)
    batch = eight_pairs(backbone)
    for own, expected in zip(embeddings(coop, batch), embeddings(plain, batch), strict=True):
        assert torch.equal(own, expected)
    with pytest.raises(MethodError, match=r"nothing to train\. Use at least 1"):
        coop.losses(batch)


@pytest.mark.parametrize(
    ("position", "place"),
    [
        ("end", "a photo of a {}"),
        ("middle", "a photo {} of a"),
        ("middle", "a photo {} of a red"),
        ("front", "{} a photo of a"),
    ],
)
def test_untrained_coop_with_words_reads_them_where_they_are_put(position: str, place: str, backbone: Backbone) -> None:
    """Mean pooling leaves the context out, so a `dual` text tower is compared by its token features."""
    words = place.replace("{} ", "").replace(" {}", "")
    count = len(words.split())
    if backbone.token_count(words) != count:
        pytest.skip("this tiny tokenizer cuts the words into pieces")
    options = {"context_tokens": count, "context_words": words, "class_token_position": position}
    coop = build("coop", backbone, options)
    filled = [place.format(text) for text in TEXTS]
    with torch.no_grad():
        if backbone.family == "dual":
            prompts = Prompts({0: coop.context}, {"end": None, "middle": 2, "front": 0}[position])
            own = backbone.encode_text(backbone.tokenize(TEXTS, count), prompts).tokens
            written = backbone.encode_text(backbone.tokenize(filled)).tokens
            before = {"end": count, "middle": 2, "front": 0}[position]
            for row, text in enumerate(TEXTS):
                words = backbone.token_count(text)
                expected = written[row, 1 + before : 1 + before + words]
                torch.testing.assert_close(own[row, 1 : 1 + words], expected, rtol=0, atol=1e-5)
        else:
            expected = backbone.encode_text(backbone.tokenize(filled)).pooled
            torch.testing.assert_close(coop.text_features(TEXTS), expected, rtol=0, atol=1e-5)


def test_prompts_around_the_words_are_shallow() -> None:
    vectors = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="at layer 0 only"):
        Prompts({0: vectors, 1: vectors}, leading=1)


def test_coop_names_the_longest_context(backbone: Backbone) -> None:
    with pytest.raises(MethodError, match=r"at most \d+ context tokens are possible"):
        build("coop", backbone, {"context_tokens": 60})
    with pytest.raises(MethodError, match="it must be at least 1"):
        build("coop", backbone, {"context_tokens": -1})


# --- CLIP-Adapter -----------------------------------------------------------------------------------------------------


def test_adapter_that_says_nothing_is_the_backbone(backbone: Backbone) -> None:
    adapter = build("clip_adapter", backbone, {"adapters": "both", "image_ratio": 0.0, "text_ratio": 0.0})
    batch = eight_pairs(backbone)
    plain = embeddings(build("zero_shot", backbone), batch)
    for own, expected in zip(embeddings(adapter, batch), plain, strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-7)


def test_adapter_of_512_features_has_the_published_size_and_no_negative_output() -> None:
    adapter = Bottleneck(512, ClipAdapterConfig())
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 131_072
    features = torch.randn(64, 512)
    assert adapter(features).min() == 0
    assert Bottleneck(512, ClipAdapterConfig(output_relu=False))(features).min() < 0


@torch.no_grad()
def test_adapter_mixes_the_feature_and_its_change_by_the_ratio() -> None:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    method = build("clip_adapter", backbone, {"adapters": "both", "image_ratio": 0.3, "text_ratio": 0.6})
    batch = eight_pairs(backbone)
    plain = backbone.encode_image(batch.images).pooled, backbone.encode_text(backbone.tokenize(batch.captions)).pooled
    found = method.image_features(batch.images), method.text_features(batch.captions)
    for own, feature, adapter, ratio in zip(
        found, plain, (method.image_adapter, method.text_adapter), (0.3, 0.6), strict=True
    ):
        changed = ((feature @ adapter.down.weight.T).clamp(min=0) @ adapter.up.weight.T).clamp(min=0)
        torch.testing.assert_close(own, ratio * changed + (1 - ratio) * feature, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_probe_adds_its_change() -> None:
    backbone = tiny_backbones["clip"]()
    method, batch = build("linear_probe", backbone), eight_pairs(backbone)
    plain = backbone.encode_image(batch.images).pooled, backbone.encode_text(backbone.tokenize(batch.captions)).pooled
    found = []
    for change in (method.image_change, method.text_change):
        torch.nn.init.normal_(change.weight, std=0.1)
        found.append(change)
    own = method.image_features(batch.images), method.text_features(batch.captions)
    for feature, change, result in zip(plain, found, own, strict=True):
        torch.testing.assert_close(result, feature + feature @ change.weight.T, rtol=1e-4, atol=1e-5)


def test_adapter_leaves_the_other_modality_alone(backbone: Backbone) -> None:
    batch = eight_pairs(backbone)
    images, texts = embeddings(build("zero_shot", backbone), batch)
    image_only, text_only = (trained("clip_adapter", backbone, {"adapters": side}) for side in ("image", "text"))
    assert torch.equal(embeddings(image_only, batch)[1], texts)
    assert torch.equal(embeddings(text_only, batch)[0], images)
    assert not torch.allclose(embeddings(image_only, batch)[0], images)


@pytest.mark.parametrize(
    ("options", "words"), [({"image_ratio": 1.5}, "image_ratio is 1.5"), ({"reduction": 1000}, "so 1 to")]
)
def test_adapter_refuses_impossible_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build("clip_adapter", tiny_backbones["clip"](), options)


# --- MaPLe ------------------------------------------------------------------------------------------------------------


def test_maple_on_vit_b_32_has_the_published_size() -> None:
    shapes: Any = SimpleNamespace(text_width=512, image_width=768, text_layers=12, image_layers=12, source="ViT-B/32")
    learner = DualPromptLearner(shapes, MapleConfig(context_words=None))
    assert sum(parameter.numel() for parameter in learner.parameters()) == 3_555_072


def test_maple_of_depth_one_is_the_dual_prompt(backbone: Backbone) -> None:
    options = {"context_tokens": 2, "depth": 1, "context_words": "a photo of a"}
    shallow, dual = (trained(name, backbone, options) for name in ("maple", "dual_prompt"))
    batch = eight_pairs(backbone)
    for own, expected in zip(embeddings(shallow, batch), embeddings(dual, batch), strict=True):
        assert torch.equal(own, expected)
    deeper = trained("maple", backbone, {**options, "depth": 2})
    assert not torch.allclose(embeddings(deeper, batch)[1], embeddings(shallow, batch)[1])


def test_maple_keeps_the_words_its_vectors_do_not_replace() -> None:
    backbone = tiny_backbones["clip"]()
    maple = build("maple", backbone, {"depth": 1, "maple_keep_of_a": True})
    expected = backbone.encode_text(backbone.tokenize([f"a photo of a {text}" for text in TEXTS])).pooled
    torch.testing.assert_close(maple.text_features(TEXTS), expected, rtol=0, atol=1e-5)
    dropped = build("maple", backbone, {"depth": 1})
    expected = backbone.encode_text(backbone.tokenize([f"a photo {text}" for text in TEXTS])).pooled
    torch.testing.assert_close(dropped.text_features(TEXTS), expected, rtol=0, atol=1e-5)


def test_words_start_the_first_layer_alone() -> None:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    first, *deeper = build("maple", backbone, {"depth": 3}).prompts.context
    tokens = backbone.tokenize(["a photo of a"])
    words = backbone.word_embedding(tokens.ids[0, tokens.content[0]][:2]).float()
    torch.testing.assert_close(first.detach(), words)
    for drawn in deeper:
        assert 0.015 < float(drawn.detach().std()) < 0.025
        assert not torch.allclose(drawn.detach(), words, atol=1e-3)


def test_maple_names_the_largest_depth_and_context(backbone: Backbone) -> None:
    with pytest.raises(MethodError, match=r"depth is 9; from layer 0 the text tower of .* has room for 1 to 3"):
        build("maple", backbone)
    with pytest.raises(MethodError, match=r"has \d+ tokens and context_tokens is 19"):
        build("maple", backbone, {"depth": 2, "context_tokens": 19})
    with pytest.raises(MethodError, match="give both or neither"):
        build("maple", backbone, {"depth": 2, "maple_keep_of_a": True, "context_words": None})


# --- LoRA -------------------------------------------------------------------------------------------------------------


def test_lora_changes_queries_and_values_of_both_towers_only(backbone: Backbone) -> None:
    lora = build("lora", backbone, {"rank": 2, "text_start_layer": 1, "image_start_layer": 2})
    names = list(lora.learned_state())
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    layers = (backbone.text_layers - 1) + (backbone.image_layers - 2)
    assert len(names) == layers * 2 * 2  # query and value, A and B
    widths = (
        4 * 2 * ((backbone.text_layers - 1) * backbone.text_width + (backbone.image_layers - 2) * backbone.image_width)
    )
    assert sum(tensor.numel() for tensor in lora.learned_state().values()) == widths


@torch.no_grad()
def test_lora_adds_alpha_over_rank_times_its_product_to_queries_and_values() -> None:
    backbone, reference = tiny_backbones["clip"](), tiny_backbones["clip"]()
    method, batch = build("lora", backbone, {"rank": 2, "alpha": 6}), eight_pairs(backbone)
    torch.manual_seed(0)
    for name, parameter in method.named_parameters():
        if ".lora_" in name:
            parameter.normal_(std=0.2)
    changed = [name for name, _ in reference.named_modules() if name.endswith((".q_proj", ".v_proj"))]
    assert len(changed) == 2 * (backbone.text_layers + backbone.image_layers)
    for name in changed:
        own = method.changed.get_submodule(name)
        reference.get_submodule(name).weight.add_(6 / 2 * own.lora_B["default"].weight @ own.lora_A["default"].weight)
    wanted = embeddings(build("zero_shot", reference), batch)
    for found, right in zip(embeddings(method, batch), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "full_ft"])
def test_changed_towers_leave_the_backbone_alone_and_share_its_tensors(name: str, backbone: Backbone) -> None:
    batch = eight_pairs(backbone)
    before = embeddings(build("zero_shot", backbone), batch)
    own, count = set(map(id, backbone.parameters())), sum(p.numel() for p in backbone.parameters())
    method = trained(name, backbone)
    assert own <= set(map(id, method.parameters()))
    learned = sum(tensor.numel() for tensor in method.learned_state().values())
    assert sum(parameter.numel() for parameter in method.parameters()) == count + learned
    for now, then in zip(embeddings(build("zero_shot", backbone), batch), before, strict=True):
        assert torch.equal(now, then)
    assert not torch.allclose(embeddings(method, batch)[0], before[0])
    assert not torch.allclose(embeddings(method, batch)[1], before[1])


def test_lora_without_peft_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MethodError, match=r"pip install 'crosscue\[lora\]'"):
        build("lora", tiny_backbones["clip"]())


def test_lora_refuses_impossible_options() -> None:
    backbone = tiny_backbones["clip"]()
    for options, words in (
        ({"rank": 0}, "rank is 0"),
        ({"image_start_layer": 3}, "image_start_layer is 3; the image tower has layers 0 to 2"),
    ):
        with pytest.raises(MethodError, match=words):
            build("lora", backbone, options)


# --- full fine-tuning -------------------------------------------------------------------------------------------------


def test_blending_is_linear_in_the_weights(backbone: Backbone) -> None:
    """alpha 0 is the backbone, 1 what was trained, and 1/2 the model half way between in every weight."""
    batch = eight_pairs(backbone)
    whole = trained("full_ft", backbone)
    state = whole.learned_state()

    def blended(alpha: float, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        method = build("full_ft", backbone, {"alpha": alpha})
        method.load_learned_state({name: scale * tensor for name, tensor in state.items()})
        return embeddings(method.eval(), batch)

    plain = embeddings(build("zero_shot", backbone), batch)
    for place in (0, 1):
        torch.testing.assert_close(blended(0.0)[place], plain[place], rtol=0, atol=1e-6)
        assert torch.equal(blended(1.0)[place], embeddings(whole.eval(), batch)[place])
        torch.testing.assert_close(blended(0.5)[place], blended(1.0, scale=0.5)[place], rtol=0, atol=1e-6)
    with pytest.raises(MethodError, match="alpha is 2"):
        build("full_ft", backbone, {"alpha": 2})


def test_the_whole_change_is_trained_and_a_share_of_it_evaluated() -> None:
    pretrained, change = torch.randn(3, 2), Change(torch.zeros(3, 2), 0.3)
    torch.nn.init.normal_(change.delta)
    torch.testing.assert_close(change.train()(pretrained), pretrained + change.delta)
    torch.testing.assert_close(change.eval()(pretrained), pretrained + 0.3 * change.delta)


def test_a_step_of_full_fine_tuning_is_a_step_of_the_towers_themselves() -> None:
    """One SGD step against autograd on the stock modules, whose weights are made trainable."""
    backbone, reference = tiny_backbones["clip"](), tiny_backbones["clip"]()
    batch = eight_pairs(backbone)
    method = build("full_ft", backbone)
    step(method, batch, torch.optim.SGD([p for _, p in select_trainable(method)], lr=0.1))
    reference.requires_grad_(True)
    images = normalize(reference.encode_image(batch.images).pooled, dim=-1)
    texts = normalize(reference.encode_text(reference.tokenize(batch.captions)).pooled, dim=-1)
    contrastive(images, texts, reference.logit_scale).backward()
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    expected = embeddings(build("zero_shot", reference), batch)
    for own, stepped in zip(embeddings(method, batch), expected, strict=True):
        torch.testing.assert_close(own, stepped, rtol=0, atol=1e-4)


def test_full_fine_tuning_starts_at_its_layers(backbone: Backbone) -> None:
    """From layers 1 and 2 on every weight changes, those behind the layers too; nothing before them does."""
    method = build("full_ft", backbone, {"text_start_layer": 1, "image_start_layer": 2})
    learned = {name.split(".parametrizations")[0].removeprefix("tuned.") for name in method.learned_state()}
    every = {name.rpartition(".")[0] for name, tensor in backbone.named_parameters() if tensor.numel() > 1}
    before = {
        name for name in every if re.search(r"embedding|pre_layrnorm|^text.*layers?\.0\.|^image.*layers\.[01]\.", name)
    }
    assert learned == every - before
    assert {name.partition(".")[0] for name in before} == {"text", "image"}
    assert method.image_use.frozen_layers == 2


# --- all --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coop", "clip_adapter", "linear_probe", "lora", "full_ft", "dual_prompt"])
def test_a_batch_without_an_image_for_every_caption_is_refused(name: str) -> None:
    backbone = tiny_backbones["clip"]()
    method = build(name, backbone, {"context_tokens": 4} if name in ("coop", "dual_prompt") else None)
    whole = eight_pairs(backbone)
    with pytest.raises(MethodError, match="3 images and 8 captions: give one image for every caption"):
        method.losses(Batch(whole.images[:3], whole.captions, whole.image_ids))
    with pytest.raises(MethodError, match="0 images and 0 captions"):
        method.losses(Batch(whole.images[:0], [], []))


def test_tensors_of_another_method_are_refused() -> None:
    backbone = tiny_backbones["clip"]()
    probe, adapter = build("linear_probe", backbone), build("clip_adapter", backbone)
    with pytest.raises(
        RunError, match=r"not the tensors of method 'linear_probe': missing .*image_change.*unexpected .*down"
    ):
        probe.load_learned_state(adapter.learned_state())
    wider = {name: tensor.repeat_interleave(2, 0) for name, tensor in probe.learned_state().items()}
    with pytest.raises(RunError, match=r"image_change\S* has shape .* the run was made with other options"):
        probe.load_learned_state(wider)


def test_directions_add_up() -> None:
    backbone = tiny_backbones["clip"]()
    batch = eight_pairs(backbone)
    parts = [
        build("linear_probe", backbone, {"directions": directions}).losses(batch)["contrastive_loss"].item()
        for directions in ("both", "i2t", "t2i")
    ]
    assert parts[0] == pytest.approx(parts[1] + parts[2], rel=1e-5)
    assert parts[1] != pytest.approx(parts[2], rel=1e-3)
