"""Every family against its stock `transformers` model, and the prompt slots of both towers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from crosscue.backbones import clip_towers
from crosscue.backbones.protocol import Backbone, ImageState, Prompts, TokenBatch
from crosscue.backbones.token_weights import TokenWeights
from crosscue.errors import BackboneError, MethodError
from tests import tiny
from tests.tiny import tiny_backbones

TEXTS = ["a red thing", "two dogs on a black cat in the white photo", "pink"]


@pytest.fixture(params=sorted(tiny_backbones))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbones[request.param]()


def pixels(count: int = 3, size: int = tiny.SIZE) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def vectors(count: int, width: int, *, batch: int | None = None, seed: int = 0) -> Tensor:
    shape = (count, width) if batch is None else (batch, count, width)
    return 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stock_features(name: str, backbone: Backbone, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
    """Returns the features that `transformers` computes for the same pixels and ids."""
    import transformers

    image = backbone.normalise(pixels())
    if name == "dual":
        folder = tiny.dual_folder()
        vision = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image").eval()
        bert = transformers.BertModel.from_pretrained(folder / "text", add_pooling_layer=False).eval()
        mask = torch.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]
        hidden = bert(tokens.ids, attention_mask=mask.long()).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        bridge = backbone.text.bridge
        return bridge.image(vision(image).image_embeds), bridge.text(mean)
    model_class = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}[name]
    model = getattr(transformers, model_class).from_pretrained(getattr(tiny, f"{name}_folder")()).eval()
    text = model.get_text_features(input_ids=tokens.ids).pooler_output
    if name != "siglip2":
        return model.get_image_features(pixel_values=image).pooler_output, text
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    patches = torch.stack([torch.from_numpy(convert_image_to_patches(one.numpy(), tiny.PATCH)) for one in image])
    side = tiny.SIZE // tiny.PATCH
    shapes = torch.tensor([[side, side]] * len(image))
    mask = torch.ones(patches.shape[:2], dtype=torch.long)
    return model.get_image_features(patches, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output, text


@pytest.mark.parametrize("name", sorted(tiny_backbones))
def test_without_prompts_it_is_the_stock_model(name: str) -> None:
    backbone = tiny_backbones[name]()
    tokens = backbone.tokenize(TEXTS)
    with torch.no_grad():
        image, text = stock_features(name, backbone, tokens)
        torch.testing.assert_close(backbone.encode_image(pixels()).pooled, image, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(backbone.encode_text(tokens).pooled, text, rtol=1e-5, atol=1e-5)


def test_clip_crops_and_hides_the_padding_exactly() -> None:
    import transformers

    backbone = tiny_backbones["clip"]()
    tokens = backbone.tokenize(TEXTS)
    assert tokens.ids.shape[1] == int(tokens.lengths.max()) < backbone.context_length
    model = transformers.CLIPModel.from_pretrained(tiny.clip_folder()).eval()
    padded = torch.nn.functional.pad(tokens.ids, (0, backbone.context_length - tokens.ids.shape[1]), value=0)
    with torch.no_grad():
        full = model.get_text_features(input_ids=padded).pooler_output
        mine = backbone.encode_text(tokens).pooled
    torch.testing.assert_close(mine, full, rtol=0, atol=2e-6)


def test_prompts_equal_to_words_are_words() -> None:
    backbone = tiny_backbones["clip"]()
    words = backbone.tokenize(["a photo of"])
    context = backbone.word_embedding(words.ids[0, 1:4])
    with torch.no_grad():
        spelled = backbone.encode_text(backbone.tokenize(["a photo of a red thing"])).pooled
        prompted = backbone.encode_text(backbone.tokenize(["a red thing"], 3), Prompts.of([context])).pooled
    torch.testing.assert_close(prompted, spelled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_prompts_matter_and_shared_equals_per_sample(backbone: Backbone, start: int, depth: int) -> None:
    if start + depth > 3:
        pytest.skip("the tiny towers have three layers")
    for width, encode in (
        (backbone.image_width, lambda p: backbone.encode_image(pixels(), p).pooled),
        (backbone.text_width, lambda p: backbone.encode_text(backbone.tokenize(TEXTS, 2), p).pooled),
    ):
        shared = [vectors(2, width, seed=layer) for layer in range(depth)]
        with torch.no_grad():
            plain, prompted = encode(None), encode(Prompts.of(shared, start))
            repeated = encode(Prompts.of([tensor.expand(3, -1, -1) for tensor in shared], start))
            different = encode(Prompts.of([vectors(2, width, batch=3, seed=layer) for layer in range(depth)], start))
        torch.testing.assert_close(prompted, repeated)
        assert not torch.allclose(prompted, plain, atol=1e-4)
        assert not torch.allclose(prompted, different, atol=1e-4)


def test_deep_prompts_replace_and_shallow_ones_propagate(backbone: Backbone) -> None:
    width = backbone.image_width
    first, second = vectors(2, width, seed=1), vectors(2, width, seed=2)
    with torch.no_grad():
        shallow = backbone.encode_image(pixels(), Prompts.of([first])).pooled
        deep = backbone.encode_image(pixels(), Prompts.of([first, second])).pooled
        late = backbone.encode_image(pixels(), Prompts({1: second})).pooled
    assert not torch.allclose(shallow, deep, atol=1e-4)
    assert not torch.allclose(deep, late, atol=1e-4)  # the first layer saw the first prompts


def test_order_of_visual_prompts_does_not_matter(backbone: Backbone) -> None:
    prompts = vectors(4, backbone.image_width)
    with torch.no_grad():
        forward = backbone.encode_image(pixels(), Prompts.of([prompts])).pooled
        backward = backbone.encode_image(pixels(), Prompts.of([prompts.flip(0)])).pooled
    torch.testing.assert_close(forward, backward, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_cached_prefix_equals_the_whole_tower(backbone: Backbone, layer: int) -> None:
    prompts = Prompts.of([vectors(2, backbone.image_width)], layer) if layer < 3 else None
    with torch.no_grad():
        state = backbone.image_state(pixels(), layer)
        assert state.layer == layer
        cached, direct = backbone.encode_image(state, prompts), backbone.encode_image(pixels(), prompts)
    torch.testing.assert_close(cached.pooled, direct.pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cached.patches, direct.patches, rtol=1e-5, atol=1e-6)


def test_prompts_before_a_cached_state_are_refused(backbone: Backbone) -> None:
    state = backbone.image_state(pixels(), 2)
    with pytest.raises(ValueError, match="cached state"):
        backbone.encode_image(state, Prompts.of([vectors(2, backbone.image_width)], 1))


def test_feature_shapes(backbone: Backbone) -> None:
    tokens = backbone.tokenize(TEXTS, 2)
    with torch.no_grad():
        text = backbone.encode_text(tokens, Prompts.of([vectors(2, backbone.text_width)]))
        image = backbone.encode_image(pixels(), Prompts.of([vectors(2, backbone.image_width)]))
    assert text.pooled.shape == image.pooled.shape == (3, backbone.embed_dim)
    assert text.hidden.shape == (3, backbone.text_width)
    assert text.tokens.shape == (*tokens.ids.shape, backbone.embed_dim)
    assert image.hidden.shape == (3, backbone.image_width)
    assert image.patches.shape == (3, backbone.patch_count, backbone.embed_dim)


def test_a_dense_map_is_local_and_otherwise_refused(backbone: Backbone) -> None:
    last, state = backbone.image_layers - 1, backbone.image_state(pixels(), backbone.image_layers - 1)
    if not backbone.has_dense_map:
        with pytest.raises(BackboneError, match="families clip and dual"):
            _ = backbone.encode_image(state).dense
        return
    dense = backbone.encode_image(state).dense  # (B, P, D)
    changed = state.tokens.clone()
    changed[:, 1] = changed[:, 1].flip(-1)  # the first patch
    elsewhere = backbone.encode_image(ImageState(changed, last))
    assert not torch.allclose(elsewhere.dense[:, 0], dense[:, 0], atol=1e-3)
    torch.testing.assert_close(elsewhere.dense[:, 1:], dense[:, 1:])
    assert not torch.allclose(elsewhere.patches[:, 1:], backbone.encode_image(state).patches[:, 1:], atol=1e-4)
    alone = changed[:, 1:2]  # a sequence of one attends to itself
    torch.testing.assert_close(
        clip_towers.without_mixing(backbone.image.last, alone), backbone.image.layers[last](alone)
    )
    with pytest.raises(BackboneError, match="before the last layer"):
        _ = backbone.encode_image(backbone.image_state(pixels(), backbone.image_layers)).dense


def test_token_weights_of_one_change_nothing_and_others_do(backbone: Backbone) -> None:
    tokens = backbone.tokenize(TEXTS)
    weights = torch.ones(tokens.ids.shape)
    with torch.no_grad():
        plain = backbone.encode_text(tokens).pooled
        for place in backbone.weights_places:
            ones = TokenWeights(weights, place)
            torch.testing.assert_close(backbone.encode_text(tokens, token_weights=ones).pooled, plain)
        weights[tokens.content] = 0.3
        for place in backbone.weights_places:
            some = TokenWeights(weights, place)
            assert not torch.allclose(backbone.encode_text(tokens, token_weights=some).pooled, plain, atol=1e-4)


@pytest.mark.parametrize("place", ["input", "attention"])
def test_gradients_reach_prompts_and_token_weights_and_nothing_else(backbone: Backbone, place: Any) -> None:
    tokens = backbone.tokenize(TEXTS, 2)
    context = vectors(2, backbone.text_width).requires_grad_()
    visual = vectors(2, backbone.image_width).requires_grad_()
    weights = torch.ones(tokens.ids.shape, requires_grad=True)
    text = backbone.encode_text(tokens, Prompts.of([context]), TokenWeights(weights, place)).pooled
    image = backbone.encode_image(pixels(), Prompts.of([visual])).pooled
    (text.pow(2).sum() + image.pow(2).sum()).backward()
    for tensor in (context, visual, weights):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_long_texts_keep_their_end_token(backbone: Backbone) -> None:
    long = " ".join(["dog"] * 60)
    tokens = backbone.tokenize([long, "dog"], 4)
    assert int(tokens.lengths[0]) == backbone.context_length - 4
    ends = tokens.ids[torch.arange(2), tokens.lengths - 1]
    assert ends[0] == ends[1]
    assert int(tokens.content[0].sum()) < 60


def test_a_caption_that_spells_the_end_token_is_read_at_its_end() -> None:
    backbone = tiny_backbones["clip"]()
    tokens = backbone.tokenize(["a <end> b", "a"])
    assert tokens.ids[0].tolist().count(backbone.tokenizer.suffix[0]) == 2
    with torch.no_grad():
        spelled, cut = (backbone.encode_text(backbone.tokenize([text])).pooled for text in ("a <end> b", "a"))
    assert not torch.allclose(spelled, cut, atol=1e-4)


def test_too_many_prompts_name_the_maximum(backbone: Backbone) -> None:
    most = backbone.tokenizer.room(0) - 1
    backbone.tokenize(["a"], most)
    with pytest.raises(MethodError, match=f"at most {most} context tokens"):
        backbone.tokenize(["a"], most + 1)


@pytest.mark.parametrize("name", sorted(tiny_backbones))
def test_another_image_size_interpolates_positions(name: str) -> None:
    backbone = tiny_backbones[name](image_size=48)
    assert backbone.pixels.size == 48
    assert backbone.patch_count == 36
    with torch.no_grad():
        assert backbone.encode_image(pixels(size=48)).patches.shape[1] == 36
    with pytest.raises(BackboneError, match="Use 40 or 48"):
        tiny_backbones[name](image_size=44)


def test_interpolated_clip_equals_transformers() -> None:
    import transformers

    backbone = tiny_backbones["clip"](image_size=48)
    model = transformers.CLIPModel.from_pretrained(tiny.clip_folder()).eval()
    image = backbone.normalise(pixels(size=48))
    with torch.no_grad():
        stock = model.get_image_features(pixel_values=image, interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(backbone.encode_image(pixels(size=48)).pooled, stock, rtol=1e-5, atol=1e-5)


def test_bf16_is_close_and_returns_float32(backbone: Backbone) -> None:
    half = tiny_backbones[backbone.family if backbone.family != "dual" else "dual"](precision="bf16")
    with torch.no_grad():
        exact, rounded = backbone.encode_text(backbone.tokenize(TEXTS)), half.encode_text(half.tokenize(TEXTS))
    assert rounded.pooled.dtype == torch.float32
    assert torch.cosine_similarity(exact.pooled, rounded.pooled).min() > 0.99
    assert half.checkpoint == backbone.checkpoint


def test_tokens_behind_the_first_norm_are_what_layer_0_reads(backbone: Backbone) -> None:
    state = backbone.image_state(pixels(), 0)
    prompts = Prompts.of([vectors(2, backbone.image_width)])
    with torch.no_grad():
        entry = backbone.image_entry(pixels())
        assert entry.entered
        torch.testing.assert_close(backbone.image_entry(state).tokens, entry.tokens, rtol=0, atol=1e-6)
        assert torch.equal(backbone.image_entry(entry).tokens, entry.tokens)
        plain, behind = backbone.encode_image(pixels()), backbone.encode_image(entry)
        torch.testing.assert_close(behind.pooled, plain.pooled, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(behind.patches, plain.patches, rtol=1e-5, atol=1e-6)
        before, after = backbone.encode_image(state, prompts).pooled, backbone.encode_image(entry, prompts).pooled
        assert torch.allclose(before, after, atol=1e-5) == (not hasattr(backbone.image.vision_model, "pre_layrnorm"))
        assert entry[torch.tensor([1, 1])].tokens.shape[0] == 2


def test_pixels_are_normalised_bit_for_bit_and_kept() -> None:
    backbone, pixels = tiny_backbones["clip"](), torch.arange(256, dtype=torch.uint8).expand(2, 3, 4, 256)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (backbone.pixels.mean, backbone.pixels.std))
    assert torch.equal(backbone.normalise(pixels), (pixels.float() / 255 - mean) / std)
    assert torch.equal(pixels[1, 2, 3], torch.arange(256, dtype=torch.uint8))
