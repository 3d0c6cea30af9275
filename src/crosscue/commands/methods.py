"""crosscue methods: all methods with their options."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from typing import Any

from crosscue.commands.parser import options_parser
from crosscue.errors import CrosscueError


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Options of `crosscue methods`."""

    json: bool = False
    """True: the list is printed as JSON."""


def run(arguments: list[str]) -> int:
    """Prints every registered method with its summary and options."""
    given = options_parser("methods", "Lists the methods and their options.", (ListOptions, None)).parse_args(arguments)

    from crosscue.methods.registry import method_names

    listed = [described(name) for name in method_names()]
    if given.json:
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return 0
    for method in listed:
        if "error" in method:
            sys.stdout.write(f"{method['name']}\n    {method['error']}\n")
            continue
        sys.stdout.write(f"{method['name']}\n    {method['summary']}\n")
        if method["paper"]:
            sys.stdout.write(f"    {method['paper']}\n")
        options = ", ".join(f"{name}={value}" for name, value in method["options"].items())
        sys.stdout.write(f"    options: {options or 'none'}\n")
    sys.stdout.write("The options of one method: crosscue adapt --method NAME --help-all\n")
    return 0


def described(name: str) -> dict[str, Any]:
    """Returns the summary, paper and options of a method; for a plug-in that cannot be imported, the error."""
    from crosscue.methods.registry import method_class

    try:
        found = method_class(name)
    except CrosscueError as error:
        return {"name": name, "error": str(error)}
    defaults = {field.name: field.default for field in dataclasses.fields(found.config_class)}
    options = {name: ".inf" if value == math.inf else value for name, value in defaults.items()}  # as in YAML
    return {"name": name, "summary": found.summary, "paper": found.paper, "options": options}
