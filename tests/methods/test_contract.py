"""Every method, on every family, keeps the contract."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from crosscue.backbones.protocol import Backbone
from crosscue.data.pairs import Negative
from crosscue.errors import MethodError
from crosscue.methods.capabilities import LateInteraction, ReadsTogether
from crosscue.methods.contract import Batch, Method
from crosscue.methods.registry import METHODS, build
from crosscue.training.checkpoints import save_learned
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import optimizer, select_trainable
from tests.methods.cases import CASES, MEMORISED, TRAINED, Case
from tests.tiny import COLOURS, tiny_backbones


@pytest.fixture(params=sorted(tiny_backbones))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbones[request.param]()


def eight_pairs(backbone: Backbone) -> Batch:
    generator = torch.Generator().manual_seed(0)
    size = backbone.pixels.size
    colours = torch.tensor([[(i >> bit & 1) * 255 for bit in range(3)] for i in range(8)])[:, :, None, None]
    noise = torch.randint(0, 256, (8, 3, size, size), generator=generator)
    images = ((3 * colours + noise) // 4).to(torch.uint8)
    captions = [f"a {colour} thing" for colour in COLOURS]
    return Batch(
        images,
        captions,
        [str(i) for i in range(8)],
        COLOURS,
        [(Negative(f"a {COLOURS[i - 1]} thing"), Negative(f"two {COLOURS[i]} things", "attribute")) for i in range(8)],
    )


def built(case: Case, backbone: Backbone, options: dict[str, object] | None = None) -> Method:
    torch.manual_seed(0)
    chosen = case.options if options is None else options
    if case.families and backbone.family not in case.families:
        with pytest.raises(MethodError, match=f"family {backbone.family}"):
            build(case.name, backbone, chosen)
        pytest.skip(f"refused with a reason: {case.name} does not work with family {backbone.family}")
    return build(case.name, backbone, chosen)


def step(method: Method, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss = sum(value for key, value in method.losses(batch).items() if key.endswith("_loss"))
    loss.backward()
    optimiser.step()
    return loss.item()


def embeddings(method: Method, batch: Batch) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return method.encode_image(batch.images), method.encode_text(batch.captions)


def similarity(method: Method, batch: Batch) -> tuple[Tensor, Tensor]:
    """(8, 8) scores of pictures and captions as image to text and text to image rank them."""
    if isinstance(method, LateInteraction):
        with torch.no_grad():
            return method.token_scores(method.image_tokens(batch.images), method.text_tokens(batch.captions))
    images, texts = embeddings(method, batch)
    if not isinstance(method, ReadsTogether):
        return images @ texts.T, images @ texts.T
    everything, none = texts.expand(8, -1, -1), torch.zeros(8, 8)
    with torch.no_grad():
        i2t = method.scores_given_texts(batch.images, [batch.captions] * 8, everything, none)
        t2i = [method.scores_given_texts(batch.images, [[text]] * 8, everything, none) for text in batch.captions]
    return i2t, torch.stack([scores[:, caption] for caption, scores in enumerate(t2i)], dim=1)


def test_every_registered_method_is_in_the_grid() -> None:
    assert {case.name for case in CASES} == set(METHODS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_embeddings_are_unit_vectors_in_fp32(case: Case, backbone: Backbone) -> None:
    batch = eight_pairs(backbone)
    for vectors in embeddings(built(case, backbone), batch):
        assert vectors.shape == (8, backbone.embed_dim)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(8))


@pytest.mark.parametrize("case", [case for case in CASES if case.identity], ids=lambda case: case.id)
def test_untrained_method_is_the_backbone(case: Case, backbone: Backbone) -> None:
    batch = eight_pairs(backbone)
    images, texts = embeddings(built(case, backbone), batch)
    plain_images, plain_texts = embeddings(build("zero_shot", backbone), batch)
    torch.testing.assert_close(images, plain_images, rtol=0, atol=1e-6)
    torch.testing.assert_close(texts, plain_texts, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.id)
def test_only_trainable_tensors_get_gradients_and_change(case: Case, backbone: Backbone) -> None:
    method, batch = built(case, backbone), eight_pairs(backbone)
    chosen = dict(select_trainable(method))
    before = {name: tensor.detach().clone() for name, tensor in method.named_parameters()}
    fingerprint = backbone.fingerprint()
    optimiser = torch.optim.SGD(chosen.values(), lr=0.1)
    for _ in range(2):  # a tensor behind a zero-initialised one gets gradients from the second step on
        step(method, batch, optimiser)
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == (name in chosen), name
        assert torch.equal(parameter, before[name]) == (name not in chosen), name
    assert backbone.fingerprint() == fingerprint
    frozen = {name for name, _ in method.named_parameters()} - set(chosen)
    assert set(chosen) <= set(method.learned_state())
    assert not frozen & set(method.learned_state()), "frozen parameters are not saved"


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.id)
def test_saved_and_loaded_embeddings_are_equal(case: Case, backbone: Backbone, tmp_path) -> None:
    method, batch = built(case, backbone), eight_pairs(backbone)
    step(method, batch, torch.optim.SGD([p for _, p in select_trainable(method)], lr=0.1))
    save_learned(tmp_path / "adapter.safetensors", method.learned_state())
    torch.manual_seed(99)
    again = build(case.name, backbone, case.options)
    again.load_learned_state(load_file(tmp_path / "adapter.safetensors"))
    for saved, loaded in zip(embeddings(method, batch), embeddings(again, batch), strict=True):
        assert torch.equal(saved, loaded)


@pytest.mark.parametrize("case", MEMORISED, ids=lambda case: case.id)
def test_eight_pairs_are_memorised(case: Case, backbone: Backbone) -> None:
    method, batch = built(case, backbone, case.memorise), eight_pairs(backbone)
    optimiser = optimizer(method, TrainingConfig(optimizer="adamw", lr=case.lr, weight_decay=0))
    losses, found = [], []
    while len(losses) < 400 and found != list(range(8)):
        losses += [step(method, batch, optimiser) for _ in range(40)]
        i2t, t2i = similarity(method, batch)
        found = i2t.argmax(1).tolist() if t2i.argmax(0).tolist() == list(range(8)) else []
    if backbone.family in case.memorised_by:
        assert found == list(range(8)), f"after {len(losses)} steps"
        assert losses[-1] < 0.5 * losses[0]
    else:
        assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_caption_embeddings_do_not_depend_on_the_pictures(case: Case, backbone: Backbone) -> None:
    method, batch = built(case, backbone), eight_pairs(backbone)
    images, texts = embeddings(method, batch)
    swapped = Batch(batch.images.flip(0), batch.captions, batch.image_ids, batch.categories, batch.negatives)
    new_images, new_texts = embeddings(method, swapped)
    assert torch.equal(texts, new_texts)
    assert torch.equal(images.flip(0), new_images)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_cached_image_state_gives_the_same_embedding(case: Case, backbone: Backbone) -> None:
    method, batch = built(case, backbone), eight_pairs(backbone)
    with torch.no_grad():
        state = backbone.image_state(batch.images, method.frozen_image_layers)
        torch.testing.assert_close(method.encode_image(state), method.encode_image(batch.images), rtol=0, atol=1e-5)
        if method.frozen_image_layers < backbone.image_layers:
            with pytest.raises(ValueError, match="cached states or features bypass"):
                method.encode_image(backbone.image_state(batch.images, method.frozen_image_layers + 1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_cached_features_give_the_same_embedding(case: Case, backbone: Backbone) -> None:
    method, batch = built(case, backbone), eight_pairs(backbone)
    if not method.image_tower_frozen:
        with pytest.raises(ValueError, match="cached states or features bypass"):
            method.encode_image(backbone.encode_image(batch.images))
        return
    assert method.frozen_image_layers == backbone.image_layers
    with torch.no_grad():
        features = backbone.encode_image(batch.images)
        torch.testing.assert_close(method.encode_image(features), method.encode_image(batch.images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.id)
def test_bf16_towers_train_fp32_tensors(case: Case) -> None:
    backbone = tiny_backbones["clip"](precision="bf16")
    method, batch = built(case, backbone), eight_pairs(backbone)
    chosen = select_trainable(method)
    assert all(parameter.dtype == torch.float32 for _, parameter in chosen)
    loss = step(method, batch, torch.optim.SGD([p for _, p in chosen], lr=0.1))
    exact = built(case, tiny_backbones["clip"]())
    with torch.no_grad():
        reference = sum(value for key, value in exact.losses(batch).items() if key.endswith("_loss"))
    assert loss == pytest.approx(float(reference), rel=0.05)
    assert all(vectors.dtype == torch.float32 for vectors in embeddings(method, batch))
