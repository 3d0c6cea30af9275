"""The harness of the benchmarks: ways alternate, and the warm-up is not counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_ways_alternate_and_the_warm_up_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import harness

    clock, order = [0.0], []
    monkeypatch.setattr(harness.time, "process_time", lambda: clock[0])

    def way(name: str, seconds: float) -> harness.Way:
        def work(index: int) -> str:
            order.append((name, index))
            clock[0] += 100.0 if index == 0 else seconds
            return f"{name} {index}"

        return work

    timings = harness.alternate({"ours": way("ours", 1.0), "theirs": way("theirs", 3.0)}, 2)
    assert order == [(name, index) for index in range(3) for name in ("ours", "theirs")]
    assert [timing.seconds for timing in timings.values()] == [2.0, 6.0]
    assert timings["theirs"].result == "theirs 2"
    for load, ending in ((1.0, "3.00x the wall time"), (9.0, " s wall")):
        monkeypatch.setattr(harness.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        monkeypatch.setattr(harness.os, "cpu_count", lambda: 2)
        timings["ours"].wall, timings["theirs"].wall = 4.0, 12.0
        harness.print_table("fp32", timings, 12, "pairs")
        ours, theirs, *refused = capsys.readouterr().out.splitlines()
        assert "6.0 pairs/CPU-s" in ours and "1.00x the CPU time; 4.00 s wall" in ours
        assert "2.0 pairs/CPU-s" in theirs and "3.00x the CPU time; 12.00 s wall" in theirs
        assert theirs.endswith(ending)
        assert refused == ([] if load < 2 else ["fp32  no ratio of wall times: load 9.0 on 2 cores"])


def test_a_step_returns_its_loss_and_gradient() -> None:
    import harness

    layer = torch.nn.Linear(2, 1, bias=False)  # without a backbone, as a plain way
    step = harness.training_step(
        layer, lambda index: layer(torch.tensor([1.0, 2.0])).sum() * index, [layer.weight], plain=True
    )
    step(1)
    loss, gradient = step(3)
    assert gradient.tolist() == [3.0, 6.0], "gradients of the step alone"
    assert loss == pytest.approx(3 * float(layer.weight.detach()[0] @ torch.tensor([1.0, 2.0])))


def test_make_bench_runs_every_benchmark() -> None:
    shared = {"harness", "clip_shapes", "peer_sides", "plain_clip"}
    makefile = (BENCHMARKS.parent / "Makefile").read_text()
    for file in BENCHMARKS.glob("*.py"):
        assert (f"benchmarks/{file.name}" in makefile) == (file.stem not in shared), file.name
