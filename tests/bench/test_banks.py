"""Banks of the jobs of a grid."""

from pathlib import Path

import pytest

from crosscue.bench.domains import Domain, read_domains
from crosscue.bench.jobs import Job, Towers
from crosscue.data.sources import Reading
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig
from tests.images import write_source
from tests.tiny import tiny_backbones


def job(domain: Domain, root: Path, method: str = "zero_shot", **options: object) -> Job:
    training = TrainingConfig(epochs=1, batch_size=4)
    return Job(method, options, training, domain, "all", False, Towers("tiny", None, "fp32"), root)


def test_a_bank_is_there_for_every_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    write_source(tmp_path / "a")
    (domain,) = read_domains([str(tmp_path / "a")], [], Reading(), None)
    backbone, corrected = tiny_backbones["clip"](), Inference(normalise="bank")
    first = job(domain, tmp_path / "jobs")
    first.measure(backbone, corrected)
    again = first.evaluate(backbone, domain.test, Inference(normalise="bank", beta=5.0))
    assert domain.bank.fingerprint()[:12] in again.protocol["bank"]
    trained = job(domain, tmp_path / "jobs", "dcar", context_tokens=2, ca=False)
    assert trained.measure(backbone, Inference(mode="prior", normalise="bank")).protocol["normalised"] == "bank"
