"""The pages of a grid: Markdown, HTML, and the curves over shots."""

from __future__ import annotations

from pathlib import Path

from crosscue.bench.curve import shots_curve
from crosscue.bench.results import Results
from crosscue.bench.tables import markdown
from crosscue.storage import write_text


def write_pages(folder: Path, results: Results) -> Path:
    """Writes leaderboard.md, and where several numbers of shots were measured shots-DOMAIN.svg; returns the first."""
    curves = {}
    for domain in results.domains:
        drawn = shots_curve(results, domain.name)
        if drawn is not None:
            curves[domain.name] = f"shots-{domain.name}.svg"
            write_text(folder / curves[domain.name], drawn)
    write_text(folder / "leaderboard.md", markdown(results, curves))
    return folder / "leaderboard.md"
