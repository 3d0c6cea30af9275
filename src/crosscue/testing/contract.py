"""The contract of `crosscue.methods.contract`, as checks that run on every backbone family."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from crosscue.errors import MethodError
from crosscue.methods.capabilities import Untrained
from crosscue.methods.contract import Method
from crosscue.methods.registry import config_of, method_class
from crosscue.methods.zero_shot import ZeroShot
from crosscue.testing.backbones import FAMILIES, tiny_backbone
from crosscue.testing.steps import eight_images, eight_pairs, embeddings, similarity, step, total_loss
from crosscue.training.checkpoints import save_learned
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import optimizer, select_trainable

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone


@dataclass(frozen=True)
class Case:
    """One method with one set of options, and the promises that hold for it."""

    method: str | type[Method[Any]]
    """The class, or the name of a registered method."""
    options: dict[str, Any] = field(default_factory=dict)
    identity: bool = False
    """True: the untrained method equals the backbone."""
    memorise: dict[str, Any] | None = None
    """Options with which eight pairs are learned by heart. None: this is not checked."""
    memorised_by: tuple[str, ...] = ("clip", "siglip")
    """Families on which they are; on the others the loss must fall in a few steps. Two of different kind are enough: a
    causal and a bidirectional text tower. A context alone learns nothing where untrained attention hardly mixes it with words."""
    lr: float = 0.02
    """The learning rate of `memorise`."""
    families: tuple[str, ...] = FAMILIES
    """Families that the method works with; on the others its constructor must raise `MethodError`."""

    @property
    def found(self) -> type[Method[Any]]:
        """The class of the method."""
        return method_class(self.method) if isinstance(self.method, str) else self.method

    def __str__(self) -> str:
        options = (f"{key}={value}" for key, value in self.options.items() if key != "knowledge")
        return "-".join([self.found.name, *options])

    def build(self, backbone: Backbone, options: dict[str, Any] | None = None) -> Method[Any]:
        """Returns the method around a backbone, from the same random numbers each time."""
        torch.manual_seed(0)
        return self.found(backbone, config_of(self.found, self.options if options is None else options))


@dataclass(frozen=True)
class Check:
    """One promise of a case on one backbone family; call it to check it, `str` gives its id."""

    promise: Callable[[Case, Backbone], None]
    case: Case
    family: str

    def __call__(self) -> None:
        """Raises `AssertionError` where the promise does not hold."""
        self.promise(self.case, tiny_backbone(self.family))

    def __str__(self) -> str:
        return f"{self.promise.__name__}-{self.case}-on_{self.family}"


def contract_checks(case: Case) -> Iterator[Check]:
    """Yields every check of a case: each promise on each family."""
    promises = [unit_vectors, sees_one_modality, cached_states, cached_features]
    if case.identity:
        promises.append(equals_the_backbone)
    if not issubclass(case.found, Untrained):
        promises += [changes_what_it_trains, reloads]
    for family in FAMILIES:
        learning = [] if case.memorise is None else [memorises if family in case.memorised_by else improves]
        for promise in [*promises, *learning] if family in case.families else [refuses]:
            yield Check(promise, case, family)
    if changes_what_it_trains in promises and "clip" in case.families:
        yield Check(trains_beside_bf16, case, "clip")


def unit_vectors(case: Case, backbone: Backbone) -> None:
    """Checks that embeddings are (B, D) unit vectors in float32."""
    for vectors in embeddings(case.build(backbone), eight_pairs(backbone)):
        assert vectors.shape == (8, backbone.embed_dim)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(8))


def equals_the_backbone(case: Case, backbone: Backbone) -> None:
    """Checks that the untrained method gives the embeddings of the backbone."""
    batch = eight_pairs(backbone)
    plain = Case(ZeroShot).build(backbone)
    for own, expected in zip(embeddings(case.build(backbone), batch), embeddings(plain, batch), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-6)


def changes_what_it_trains(case: Case, backbone: Backbone) -> None:
    """Checks that exactly the trainable tensors get gradients, change and are saved; the backbone stays."""
    method, batch = case.build(backbone), eight_pairs(backbone)
    chosen = dict(select_trainable(method))
    before = {name: tensor.detach().clone() for name, tensor in method.named_parameters()}
    fingerprint = backbone.fingerprint()
    optimiser = torch.optim.SGD(chosen.values(), lr=0.1)
    for _ in range(2):  # a tensor behind a zero-initialised one gets gradients from the second step on
        step(method, batch, optimiser)
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == (name in chosen), f"gradient of {name}"
        assert torch.equal(parameter, before[name]) == (name not in chosen), f"change of {name}"
    assert backbone.fingerprint() == fingerprint, "the towers of the backbone have changed"
    saved = set(method.learned_state())
    assert set(chosen) <= saved, f"not saved: {sorted(set(chosen) - saved)}"
    frozen = saved & set(before) - set(chosen)
    assert not frozen, f"saved though frozen: {sorted(frozen)}"


def reloads(case: Case, backbone: Backbone) -> None:
    """Checks that a new object with the saved tensors gives the same embeddings, bit for bit."""
    method, batch = case.build(backbone), eight_pairs(backbone)
    step(method, batch, torch.optim.SGD([tensor for _, tensor in select_trainable(method)], lr=0.1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter.safetensors"
        save_learned(file, method.learned_state())
        state = load_file(file)
    torch.manual_seed(99)
    again = case.found(backbone, config_of(case.found, case.options))
    again.load_learned_state(state)
    for saved, loaded in zip(embeddings(method, batch), embeddings(again, batch), strict=True):
        assert torch.equal(saved, loaded)


def memorises(case: Case, backbone: Backbone) -> None:
    """Checks that training finds all eight pairs in both directions."""
    method, batch = case.build(backbone, case.memorise), eight_pairs(backbone)
    optimiser = optimizer(method, TrainingConfig(optimizer="adamw", lr=case.lr, weight_decay=0))
    right, found = list(range(8)), False
    losses: list[float] = []
    while len(losses) < 400 and not found:
        losses += [step(method, batch, optimiser) for _ in range(40)]
        i2t, t2i = similarity(method, batch)
        found = i2t.argmax(1).tolist() == right and t2i.argmax(0).tolist() == right
    assert found, f"not all of 8 pairs are found after {len(losses)} steps"
    assert losses[-1] < 0.5 * losses[0]


def improves(case: Case, backbone: Backbone) -> None:
    """Checks that a few training steps lower the loss."""
    method, batch = case.build(backbone, case.memorise), eight_pairs(backbone)
    optimiser = optimizer(method, TrainingConfig(optimizer="adamw", lr=case.lr, weight_decay=0))
    losses = [step(method, batch, optimiser) for _ in range(20)]
    assert losses[-1] < 0.95 * losses[0]


def sees_one_modality(case: Case, backbone: Backbone) -> None:
    """Checks that embeddings depend on their own image or text alone, not on the batch and not on the pairing."""
    method, batch = case.build(backbone), eight_pairs(backbone)
    images, texts = embeddings(method, batch)
    new_images, new_texts = embeddings(method, replace(batch, images=eight_images(backbone).flip(0)))
    assert torch.equal(texts, new_texts)
    assert torch.equal(images.flip(0), new_images)


def cached_states(case: Case, backbone: Backbone) -> None:
    """Checks that the cached output of the frozen image layers gives the same embedding, and no later layer is accepted."""
    method, images = case.build(backbone), eight_images(backbone)
    with torch.no_grad():
        layers = method.image_use.layers(backbone)
        state = backbone.image_state(images, layers)
        torch.testing.assert_close(method.encode_image(state), method.encode_image(images), rtol=0, atol=1e-5)
        if layers < backbone.image_layers:
            later = backbone.image_state(images, layers + 1)
            assert_refused(lambda: method.encode_image(later), ValueError, "cached states or features bypass")


def cached_features(case: Case, backbone: Backbone) -> None:
    """Checks that cached features of the untouched tower give the same embedding, or are refused."""
    method, images = case.build(backbone), eight_images(backbone)
    with torch.no_grad():
        features = backbone.encode_image(images)
        if method.image_use.frozen_layers != "pooled":
            assert_refused(lambda: method.encode_image(features), ValueError, "cached states or features bypass")
            return
        assert method.image_use.layers(backbone) == backbone.image_layers
        torch.testing.assert_close(method.encode_image(features), method.encode_image(images), rtol=0, atol=1e-6)


def trains_beside_bf16(case: Case, backbone: Backbone) -> None:
    """Checks that towers in bfloat16 give nearly the same loss, and that trainable tensors stay in float32."""
    rounded = tiny_backbone(backbone.family, precision="bf16")
    method, batch = case.build(rounded), eight_pairs(rounded)
    chosen = select_trainable(method)
    assert all(parameter.dtype == torch.float32 for _, parameter in chosen)
    loss = step(method, batch, torch.optim.SGD([parameter for _, parameter in chosen], lr=0.1))
    with torch.no_grad():
        exact = total_loss(case.build(backbone), batch).item()
    assert abs(loss - exact) <= 0.05 * abs(exact), f"loss {loss} in bfloat16, {exact} in float32"
    assert all(vectors.dtype == torch.float32 for vectors in embeddings(method, batch))


def refuses(case: Case, backbone: Backbone) -> None:
    """Checks that the constructor refuses a family that the method does not work with, and names the family."""
    assert_refused(lambda: case.build(backbone), MethodError, f"family {backbone.family}")


def assert_refused(call: Callable[[], object], error: type[Exception], words: str) -> None:
    """Checks that a call raises an error that contains the given words."""
    try:
        call()
    except error as raised:
        assert words in str(raised), f"'{words}' is not in: {raised}"
        return
    raise AssertionError(f"no {error.__name__} with '{words}'")
