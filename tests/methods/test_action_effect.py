"""Knowledge that decides: a task that cannot be solved without actions, and the diagnostics that show it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crosscue.evaluation.diagnostics import diagnose
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.action.effect import variance_shares
from crosscue.methods.action.model import Action
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.retrieval.conditioning import ConditionedImages
from crosscue.retrieval.scores import Cosines
from crosscue.training.optimisers import select_trainable
from tests.tiny import tiny_backbones

ACTIONS = ("jumping", "lying", "eating", "hiding")
CORNERS = ((0, 0), (0, 16), (16, 0), (16, 16))
"""The same red thing is in all images; its place shows the action."""


def image(action: int, generator: torch.Generator) -> Tensor:
    pixels = torch.randint(90, 110, (3, 32, 32), generator=generator, dtype=torch.uint8)
    top, left = CORNERS[action]
    pixels[0, top : top + 16, left : left + 16] = 250
    return pixels


def caption(number: int) -> str:
    """A name that carries no action: only the knowledge about it does."""
    return f"photo {number}"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Caption n shows action n modulo 4."""
    path = tmp_path_factory.mktemp("effect") / "known.jsonl"
    deeds = {number: ACTIONS[number % 4] for number in range(32)}
    ActionKnowledge(
        {
            caption(number): CaptionKnowledge((Triplet("dog", deed),), (f"it is {deed}",), "test")
            for number, deed in deeds.items()
        }
    ).save(path)
    return str(path)


def built(known: str, layer: int = 1) -> Action:
    """The knowledge is all that can change an image: there are no visual prompts."""
    torch.manual_seed(0)
    options = {"knowledge": known, "visual_prompts": 0, "aim_layer": layer, "early_inject": False}
    method = build("action", tiny_backbones["dual"](), {**options, "candidates": 3, "conditioning": "pairwise"})
    assert isinstance(method, Action)
    return method


def taught(method: Action, steps: int) -> Action:
    """Learned from captions 0 to 15, four images of the four actions a step."""
    optimiser = torch.optim.AdamW([parameter for _, parameter in select_trainable(method)], lr=0.001, weight_decay=0)
    generator = torch.Generator().manual_seed(1)
    method.train()
    for _ in range(steps):
        numbers = [4 * int(torch.randint(4, (), generator=generator)) + action for action in range(4)]
        images = torch.stack([image(action, generator) for action in range(4)])
        losses = method.losses(Batch(images, [caption(number) for number in numbers], list("abcd")))
        optimiser.zero_grad()
        losses["contrastive_loss"].backward()
        optimiser.step()
    return method.eval()


NUMBERS = [*range(16, 24), *range(25, 32), 24]  # half the list further stands a caption of another action
TEXTS = [caption(number) for number in NUMBERS]
"""Captions that training has not met."""
OWNER = torch.tensor([number % 4 for number in NUMBERS])


def images() -> Tensor:
    """An image of each action."""
    return torch.stack([image(action, torch.Generator().manual_seed(9)) for action in range(4)])


def examined(method: Action) -> dict[str, float]:
    """The diagnostics over an image of each action, and captions that training has not met."""
    with torch.no_grad():
        scorer = ConditionedImages(method, images(), method.encode_text(TEXTS), TEXTS, pooled=False, at_once=64)
    first = Cosines(torch.eye(4), torch.eye(4)[OWNER])
    return {one.name: one.value for one in diagnose(scorer, OWNER, first, top=16, sample=16)}


@pytest.mark.slow
def test_swapped_knowledge_changes_the_ranking(known: str) -> None:
    """Captions are names without meaning, so only their knowledge tells which image is meant.

    The knowledge enters at the first layer, the default. Without `aim_beside` the output is one vector for all patches
    after training with some seeds.
    """
    found = examined(taught(built(known, layer=0), 250))
    assert found["text to image, as it is"] >= 70
    assert found["text to image, swapped knowledge"] <= 30
    assert found["text to image, first candidate changed by swapped knowledge"] >= 50
    assert found["text to image, blank image"] <= 30
    assert found["output of the module: variance over patches"] > 5
    assert found["output of the module: variance from knowledge"] > 10


def test_the_output_varies_over_patches_and_with_knowledge_from_the_first_step(known: str) -> None:
    """An interaction module without residuals adds one vector to all patches: less than 1 %."""
    found = examined(taught(built(known), 1))
    assert found["output of the module: variance over patches"] > 10
    assert found["output of the module: variance from knowledge"] > 0.5


def test_swapped_rankings_are_those_of_the_other_captions(known: str) -> None:
    """Every pair is scored by itself; with swapped knowledge the image is read with the caption half the list further."""
    method = built(known)
    torch.manual_seed(9)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if method.learns(name) is not None:
                parameter.add_(0.3 * torch.randn_like(parameter))
    found = examined(method.eval())

    @torch.no_grad()
    def scores(pixels: Tensor, shift: int) -> Tensor:
        """(4, 16) cosines of each image, read with the caption `shift` places further, and each caption."""
        given = [[TEXTS[(place + shift) % 16]] for place in range(16)]
        read = [method.image_given_texts(one[None].expand(16, -1, -1, -1), given) for one in pixels]
        return (torch.stack(read) * method.encode_text(TEXTS)).sum(-1)

    own, swapped = scores(images(), 0), scores(images(), 8)
    blank = scores(torch.full((4, 3, 32, 32), 255, dtype=torch.uint8), 0)
    hit = torch.arange(4)[:, None] == OWNER  # (4, 16)
    for kind, wanted in (("as it is", own), ("swapped knowledge", swapped), ("blank image", blank)):
        share = float(hit[torch.arange(4), wanted.argmax(1)].float().mean())
        assert found[f"image to text, {kind}"] == pytest.approx(100 * share)
    for kind, wanted in (("as it is", own), ("swapped knowledge", swapped)):
        share = float(hit[wanted.argmax(0), torch.arange(16)].float().mean())
        assert found[f"text to image, {kind}"] == pytest.approx(100 * share)
    assert found["text to image, blank image"] == pytest.approx(25)
    for arrow, axis in (("image to text", 1), ("text to image", 0)):
        changed = 100 * float((own.argmax(axis) != swapped.argmax(axis)).float().mean())
        assert found[f"{arrow}, first candidate changed by swapped knowledge"] == pytest.approx(changed)
        assert changed > 0


def test_an_untrained_method_does_not_act(known: str) -> None:
    """The same diagnostics find nothing where the knowledge changes nothing."""
    found = examined(built(known).eval())
    assert found["text to image, as it is"] == found["text to image, swapped knowledge"]
    assert found["text to image, first candidate changed by swapped knowledge"] == 0
    assert found["output of the module: variance over patches"] == 0
    assert found["output of the module: variance from knowledge"] == 0


def test_shares_of_variance() -> None:
    """Against outputs whose variance has one source."""
    patches = torch.randn(1, 50, 3).expand(4, -1, -1)
    images = torch.randn(4, 1, 3).expand(-1, 50, -1)
    assert variance_shares(patches, patches) == pytest.approx(
        {"over patches": 100, "over images": 0, "from knowledge": 0}
    )
    assert variance_shares(images, images)["over images"] == pytest.approx(100)
    both = variance_shares(patches + images, patches + images)
    assert both["over patches"] + both["over images"] == pytest.approx(100)
    independent = variance_shares(torch.randn(500, 40, 3), torch.randn(500, 40, 3))
    assert independent["from knowledge"] == pytest.approx(100, rel=0.05)
