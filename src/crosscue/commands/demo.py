"""crosscue demo: the whole system on real images, in minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo."""

    out: Path = Path("runs/demo")
    """Run folder, with summary.json and report/report.html."""
    seed: int = 1
    """Seed of the training."""


def run(arguments: list[str]) -> int:
    """Runs the demo."""
    parser = options_parser("demo", "Adapt the starter to emoji and show the gain.", (DemoOptions, None))
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.demo.run import run_demo

    run_demo(given.out, given.seed)
    return 0
