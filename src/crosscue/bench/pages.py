"""The pages of a grid: a leaderboard as Markdown and as HTML, and the curves over shots."""

from __future__ import annotations

from pathlib import Path

from crosscue.bench.results import Results
from crosscue.bench.table import Table
from crosscue.bench.tables import MARKS, protocol, tables
from crosscue.markdown import markdown_table
from crosscue.storage import write_text


def write_pages(folder: Path, results: Results) -> Path:
    """Writes leaderboard.md and .html, and the figures as SVG files; returns the first."""
    shown = list(tables(results))
    for table in shown:
        if table.curve is not None:
            write_text(folder / table.file, table.curve)
    write_text(folder / "leaderboard.html", html(results, shown))
    write_text(folder / "leaderboard.md", markdown(results, shown))
    return folder / "leaderboard.md"


def markdown(results: Results, shown: list[Table]) -> str:
    """Returns the page as Markdown."""
    lines = [f"# {results.grid.title}", "", protocol(results), "", MARKS.replace("*", r"\*"), ""]
    if results.grid.deviations:
        lines += ["Known differences from the paper:", "", *(f"- {one}" for one in results.grid.deviations), ""]
    if results.failures:
        lines += ["**Not all jobs could be run:**", ""]
        lines += [*(f"- {failure.job}: {failure.reason}" for failure in results.failures), ""]
    for table in shown:
        lines += [f"## {table.title}", "", table.about, ""]
        if table.curve is not None:
            lines += [f"![{table.title}]({table.file})", ""]
        rows = [
            [
                f"{line.label} ({line.note})" if line.note else line.label,
                *(f"**{number.text}**" if number.best else number.text for number in line.numbers),
            ]
            for line in table.lines
        ]
        lines += [markdown_table(["", *table.heads], rows), ""]
    return "\n".join(lines)


def html(results: Results, shown: list[Table]) -> str:
    """Returns the page as one HTML file that needs nothing else."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    places = ChoiceLoader([PackageLoader("crosscue.bench", "."), PackageLoader("crosscue.evaluation", ".")])
    environment = Environment(loader=places, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("leaderboard.html.j2").render(
        title=results.grid.title,
        protocol=protocol(results),
        failures=results.failures,
        deviations=results.grid.deviations,
        tables=shown,
        marks=MARKS,
    )
