"""The end of memory in a step, and the memory that chunks of rows save."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.rows import WHOLE, Rows
from crosscue.errors import TrainingError
from crosscue.methods.dual_prompt import DualPrompt
from crosscue.testing import Case, tiny_backbone
from crosscue.training.memory import memory_of, step_bytes
from tests import tiny
from tests.forks import forked
from tests.pairs import gradients, many_pairs
from tests.training.runs import adapt, config, learned

STATUS = Path("/proc/self/status")


def test_the_end_of_memory_proposes_rows_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DualPrompt, "losses", lambda method, batch: torch.empty(1 << 50))
    with pytest.raises(TrainingError) as raised:
        adapt(folder, "run", training=config(batch_size=16))
    message = str(raised.value)
    assert message.startswith("batch 16 does not fit (needs ~0.00")
    assert "--training.rows_at_once 2 gives the same gradients in ~0.0" in message
    with pytest.raises(TrainingError, match=r"rows_at_once 8 does not fit .* --training.rows_at_once 1 gives"):
        adapt(folder, "run", training=config(batch_size=16, rows_at_once=8))
    with pytest.raises(TrainingError, match=r"rows_at_once 1 does not fit .* Use a smaller --image_size"):
        adapt(folder, "run", training=config(batch_size=16, rows_at_once=1))


def test_a_run_in_chunks_is_the_same_run(folder: Path) -> None:
    adapt(folder, "whole", method="lora")
    adapt(folder, "chunks", method="lora", training=config(rows_at_once=3))
    for name, tensor in learned(folder / "whole").items():
        torch.testing.assert_close(learned(folder / "chunks")[name], tensor, rtol=0, atol=1e-5)
    files = [(folder / run / "config.yaml").read_text() for run in ("whole", "chunks")]
    assert files[0] == files[1]
    noted = json.loads((folder / "chunks" / "environment.json").read_text())["starts"]
    assert noted == [{"processes": 1, "rows_at_once": 3}]


def test_other_errors_of_a_step_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_of(Case("coop").build(tiny_backbone("clip")), config()):
        raise RuntimeError("shapes do not fit")


def status(name: str) -> int:
    """A line of the status of this process in kB: `VmRSS` is its memory, `VmHWM` the most since the last reset."""
    return int(next(line for line in STATUS.read_text().splitlines() if line.startswith(name)).split()[1])


def measure(folder: Path, at_once: int | None, answer: Path) -> None:
    """Writes what the gradients of 32 pairs need in this process: kB beyond those before, CPU seconds, and the kB that are counted."""
    backbone = load_backbone(str(folder), device="cpu", precision="fp32")
    case, batch = Case("dual_prompt"), many_pairs(backbone, 32)
    gradients(case, backbone, many_pairs(backbone, 2), WHOLE)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    started = time.process_time()
    gradients(case, backbone, batch, Rows(at_once=at_once) if at_once else WHOLE)
    seconds = time.process_time() - started
    counted = step_bytes(case.build(backbone), 32) / 1024
    answer.write_text(json.dumps([status("VmHWM") - before, seconds, counted]))


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of memory is read in /proc")
def test_chunks_need_a_third_of_the_memory(tmp_path: Path) -> None:
    """A tower of 12 layers, 32 pairs: 4 rows at once against all of them. Both towers run forward twice, and backward once.

    Each is measured in a process of its own, because memory that earlier work has freed is used first and would not count.
    """
    tokenizer = tiny.character_tokenizer("<start>", "<end>", "<pad>")
    wide = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 4}
    text = {**wide, "vocab_size": 400, "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
    vision = {**wide, "image_size": tiny.SIZE, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).save_pretrained(
        tmp_path / "towers"
    )
    folder, answers = tiny.finish(tmp_path / "towers", tokenizer), []
    for at_once in (4, None):
        process = forked(measure, folder, at_once, tmp_path / "answer")
        process.join()
        assert process.exitcode == 0
        answers.append(json.loads((tmp_path / "answer").read_text()))
    (chunked, longer, _), (whole, shorter, counted) = answers
    assert chunked <= 0.35 * whole, answers
    assert longer <= 2.5 * shorter, answers  # 1.6 where nothing else runs
    assert whole / 2 <= counted <= 2 * whole, answers
