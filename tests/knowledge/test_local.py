"""A real, tiny, untrained chat model in this process: it babbles, and its captions become null."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from crosscue.cli import dispatch
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge
from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.conversation import Turn
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.language_model import LocalModel
from crosscue.knowledge.limits import Limits, Meter

CAPTIONS = ["A farmer drives a tractor.", "A lamp next to a bed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of two layers, its tokenizer and its chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    words = [
        "<unk>",
        "<eos>",
        *["a", "the", "{", "}", ":", ",", "farmer", "tractor", "lamp", "bed", "user", "assistant", "system"],
    ]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
    set_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(words), max_position_embeddings=2048, eos_token_id=1, pad_token_id=1, **sizes)
    )
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path


def say(folder: Path, cache: Path, **endpoint: object) -> tuple[str, int, int]:
    """Sends one question; returns the text of the reply, its number of tokens, and the number of replies kept from before."""

    async def go() -> tuple[str, int, int]:
        replies = ReplyCache(cache)
        meter = Meter(Limits(), replies.spent())
        given = Endpoint(model=str(folder), **{"max_tokens": 12, **endpoint})  # type: ignore[arg-type]
        async with LocalModel(given, replies, meter) as model:
            reply = await model.reply((Turn("user", "the farmer :"),))
        replies.close()
        return reply.text, reply.output_tokens, model.replayed

    return asyncio.run(go())


def test_it_generates_and_is_not_called_twice(folder: Path, tmp_path: Path) -> None:
    text, tokens, replayed = say(folder, tmp_path / "r.sqlite")
    assert text and 0 < tokens <= 12 and replayed == 0
    assert say(folder, tmp_path / "r.sqlite") == (text, tokens, 1)
    assert say(folder, tmp_path / "other.sqlite") == (text, tokens, 0), "without sampling the same"
    sampled = {say(folder, tmp_path / f"{seed}.sqlite", temperature=2.0, seed=seed)[0] for seed in range(4)}
    assert len(sampled) > 1
    assert say(folder, tmp_path / "again.sqlite", temperature=2.0, seed=3)[0] in sampled


def test_babble_leaves_captions_null(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text("\n".join(json.dumps({"image": f"{n}.jpg", "caption": text}) for n, text in enumerate(CAPTIONS)))
    command = ["describe", "triplets", str(source), "--out", str(tmp_path / "out"), "--backend", "local"]
    assert dispatch([*command, "--model.model", str(folder), "--model.max_tokens", "20"]) == 0
    known = ActionKnowledge.load(tmp_path / "out")
    for caption in CAPTIONS:
        assert known[caption] == CaptionKnowledge()
    assert "2 captions left null" in capsys.readouterr().out


def test_what_is_no_model_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": "a.jpg", "caption": CAPTIONS[0]}))
    (tmp_path / "empty").mkdir()
    command = [
        "describe",
        "triplets",
        str(tmp_path / "pairs.jsonl"),
        "--out",
        str(tmp_path / "out"),
        "--backend",
        "local",
    ]
    assert dispatch([*command, "--model.model", str(tmp_path / "empty")]) == 2
    said = capsys.readouterr().err
    assert "transformers cannot load it" in said and "Traceback" not in said
