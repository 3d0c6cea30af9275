"""CoOp, MaPLe and CLIP-Adapter against the authors' own code: features, loss, and one SGD step. See tests/fixtures/parity/README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone, TokenBatch
from crosscue.methods.contract import Batch, Method
from crosscue.methods.registry import build
from crosscue.training.optimisers import select_trainable
from tests.tiny import finish

FIXTURES = Path(__file__).parents[1] / "fixtures" / "parity"
START, END, POSITIONS = 38, 39, 20
INPUTS = load_file(FIXTURES / "inputs.safetensors")
CAPTIONS = [str(row) for row in range(len(INPUTS["captions"]))]
WORDS = "a photo of a"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The CLIP of the fixtures; its captions, named by number, have the token ids that the authors' side had."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("parity")
    shape = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
    text = {"hidden_size": 32, "intermediate_size": 128, "vocab_size": 40, "max_position_embeddings": POSITIONS}
    image = {"hidden_size": 64, "intermediate_size": 256, "image_size": 32, "patch_size": 8}
    model = CLIPModel(
        CLIPConfig(
            text_config={**shape, **text, "eos_token_id": END, "bos_token_id": START},
            vision_config={**shape, **image},
            projection_dim=24,
        )
    )
    weights = {name: tensor.float() for name, tensor in load_file(FIXTURES / "weights.safetensors").items()}
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys
    assert all("position_ids" in name for name in loaded.missing_keys)
    model.save_pretrained(folder)
    finish(folder, letters())
    backbone = load_backbone(str(folder), precision="fp32", device="cpu")
    backbone.tokenize = tokenize  # type: ignore[method-assign]
    return backbone


def letters() -> Any:
    """A tokenizer of single letters whose ids the text tower has. The captions do not pass it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors  # words: ok
    from transformers import PreTrainedTokenizerFast

    pieces = {"<pad>": 0, "[UNK]": 1, "<start>": START, "<end>": END}
    pieces |= {letter: place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 2)}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(  # words: ok
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<pad>", unk_token="[UNK]"
    )


def tokenize(texts: Sequence[str], prompt_count: int = 0) -> TokenBatch:
    """Captions are numbers; "a photo of a" may stand before one, or alone."""
    rows = []
    for text in texts:
        prefix = INPUTS["words"].tolist() if text.startswith(WORDS) else []
        number = text.removeprefix(WORDS).strip()
        words = INPUTS["captions"][int(number), : INPUTS["lengths"][int(number)]].tolist() if number else []
        rows.append([START, *prefix, *words, END])
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    place = torch.arange(longest)
    return TokenBatch(ids, lengths, (place >= 1) & (place < lengths[:, None] - 1))


def parameters(expected: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The learned tensors of a fixture: `start` or `stepped`."""
    return {name.removeprefix(f"{kind}."): tensor for name, tensor in expected.items() if name.startswith(f"{kind}.")}


def close(own: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-4)


def same_as_authors(
    method: Method[Any], name: str, rate: float, caption: Callable[[str], str] = lambda number: number
) -> None:
    expected = load_file(FIXTURES / f"{name}.safetensors")
    texts = [caption(number) for number in CAPTIONS]
    batch = Batch(INPUTS["images"], texts, CAPTIONS)
    method.load_learned_state(parameters(expected, "start"))
    close(method.image_features(batch.images), expected["image_features"])
    close(method.text_features(texts), expected["text_features"])
    optimiser = torch.optim.SGD([parameter for _, parameter in select_trainable(method)], lr=rate)
    loss = method.losses(batch)["contrastive_loss"]
    close(loss, expected["loss"])
    loss.backward()
    optimiser.step()
    stepped = parameters(expected, "stepped")
    start = parameters(expected, "start")
    assert max(float((stepped[key] - start[key]).abs().max()) for key in stepped) > 1e-2, (
        "the step is large enough to tell"
    )
    for key, tensor in method.learned_state().items():
        close(tensor, stepped[key])
    close(method.image_features(batch.images), expected["image_features_after"])
    close(method.text_features(texts), expected["text_features_after"])


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_coop(position: str, backbone: Backbone) -> None:
    options = {"context_tokens": 4, "class_token_position": position, "directions": "i2t"}
    same_as_authors(build("coop", backbone, options), f"coop_{position}", 0.5)


def test_maple_from_words_keeps_of_a(backbone: Backbone) -> None:
    method = build("maple", backbone, {"depth": 3, "maple_keep_of_a": True, "directions": "i2t"})
    start = load_file(FIXTURES / "maple_words.safetensors")["start.prompts.context.0"]
    close(method.learned_state()["prompts.context.0"], start)  # both begin as "a photo"
    same_as_authors(method, "maple_words", 0.02)


def test_maple_from_random_vectors(backbone: Backbone) -> None:
    options = {"depth": 2, "context_tokens": 3, "context_words": None, "directions": "i2t"}
    same_as_authors(build("maple", backbone, options), "maple_random", 0.02)


def test_clip_adapter(backbone: Backbone) -> None:
    method = build("clip_adapter", backbone, {"directions": "i2t"})
    same_as_authors(method, "clip_adapter", 0.5, lambda number: f"{WORDS} {number}")
