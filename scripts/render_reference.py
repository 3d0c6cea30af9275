"""Writes docs/reference.md: every verb with its help, every method with its options, as the program itself tells them.

make docs
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from crosscue.cli import VERBS

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"


def output(*arguments: str) -> str:
    command = [sys.executable, "-c", "from crosscue.cli import main; main()", *arguments]
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.rstrip()


def main() -> None:
    parts = ["# Reference", "", "Written by `make docs` from the program's own help.", ""]
    for verb in VERBS:
        parts += [f"## crosscue {verb}", "", "```", output(verb, "--help"), "```", ""]
    for method in json.loads(output("methods", "--json", "true")):
        parts += [f"## Method {method['name']}", "", method["summary"], ""]
        help_text = output("adapt", "--method", method["name"], "--help")
        options = help_text[help_text.find("--options.") :] if "--options." in help_text else ""
        parts += ["```", options, "```", ""] if options else ["It has no options.", ""]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
