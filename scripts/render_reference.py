"""Write docs/reference.md: the help of every verb, and the options of every method.

make docs
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

from crosscue.cli import VERBS, dispatch

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"


def output(*arguments: str) -> str:
    """Return the text that a command prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        dispatch(list(arguments))
    return printed.getvalue().rstrip()


def page() -> str:
    """Return the page as Markdown."""
    os.environ |= {"COLUMNS": "120", "NO_COLOR": "1"}
    parts = ["# Reference", "", "Written by `make docs` from the help of the program.", ""]
    for verb in VERBS.table:
        parts += [f"## crosscue {verb}", "", "```text", output(verb, "--help"), "```", ""]
    for method in json.loads(output("methods", "--json")):
        text = output("adapt", "--method", method["name"], "--help")
        options = text[text.find("\n  --options.") + 1 :] if "\n  --options." in text else ""
        parts += [f"## Method {method['name']}", "", method["summary"], ""]
        parts += ["```text", options, "```", ""] if options else ["It has no options.", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
