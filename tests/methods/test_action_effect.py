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


def built(known: str) -> Action:
    """The knowledge is all that can change an image: there are no visual prompts."""
    torch.manual_seed(0)
    options = {"knowledge": known, "visual_prompts": 0, "aim_layer": 1, "early_inject": False}
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


def examined(method: Action) -> dict[str, float]:
    """The diagnostics over an image of each action, and captions that training has not met."""
    numbers = [*range(16, 24), *range(25, 32), 24]  # half the list further stands a caption of another action
    owner = torch.tensor([number % 4 for number in numbers])
    texts = [caption(number) for number in numbers]
    images = torch.stack([image(action, torch.Generator().manual_seed(9)) for action in range(4)])
    with torch.no_grad():
        scorer = ConditionedImages(method, images, method.encode_text(texts), texts, pooled=False, at_once=64)
    first = Cosines(torch.eye(4), torch.eye(4)[owner])
    return {one.name: one.value for one in diagnose(scorer, owner, first, top=16, sample=16)}


@pytest.mark.slow
def test_swapped_knowledge_changes_the_ranking(known: str) -> None:
    """Captions are names without meaning, so only their knowledge tells which image is meant."""
    found = examined(taught(built(known), 400))
    assert found["text to image, as it is"] >= 70
    assert found["text to image, swapped knowledge"] <= 30
    assert found["text to image, first candidate changed by swapped knowledge"] >= 50
    assert found["text to image, blank image"] <= 30
    assert found["output of the module: variance from knowledge"] > 10


def test_the_output_varies_over_patches_and_with_knowledge_from_the_first_step(known: str) -> None:
    """An interaction module without residuals adds one vector to all patches: less than 1 %."""
    found = examined(taught(built(known), 1))
    assert found["output of the module: variance over patches"] > 10
    assert found["output of the module: variance from knowledge"] > 10


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
