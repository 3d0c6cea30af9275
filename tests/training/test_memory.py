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


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of memory is read in /proc")
def test_chunks_need_a_third_of_the_memory(tmp_path: Path) -> None:
    """A tower of 12 layers, 32 pairs: 4 rows at once against all of them. Both towers run forward twice, and backward once."""
    tokenizer = tiny.character_tokenizer("<start>", "<end>", "<pad>")
    wide = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 4}
    text = {**wide, "vocab_size": 400, "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
    vision = {**wide, "image_size": tiny.SIZE, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).save_pretrained(tmp_path)
    backbone = load_backbone(str(tiny.finish(tmp_path, tokenizer)), device="cpu", precision="fp32")
    case, batch = Case("dual_prompt"), many_pairs(backbone, 32)
    gradients(case, backbone, many_pairs(backbone, 2), WHOLE)
    before, used, times = status("VmRSS"), {}, {}
    for rows in (Rows(at_once=4), WHOLE):
        Path("/proc/self/clear_refs").write_text("5")
        started = time.thread_time()
        gradients(case, backbone, batch, rows)
        times[rows.at_once] = time.thread_time() - started
        used[rows.at_once] = status("VmHWM") - before
    assert used[4] <= 0.35 * used[None], used
    assert times[4] <= 2.5 * times[None], times  # 1.6 where nothing else runs
    counted = step_bytes(case.build(backbone), 32) / 1024
    assert used[None] / 2 <= counted <= 2 * used[None], (counted, used)
