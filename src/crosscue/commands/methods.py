"""crosscue methods: what can be learned, and with which options."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from crosscue.commands.parser import options_parser


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """How to list."""

    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> int:
    """Prints every registered method with its summary and options."""
    given = options_parser("methods", "Lists the methods and their options.", (ListOptions, None)).parse_args(arguments)

    from crosscue.methods.registry import METHODS, method_class

    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": method_class(name).summary,
            "paper": method_class(name).paper,
            "options": {field.name: field.default for field in dataclasses.fields(method_class(name).config_class)},
        }
        for name in METHODS
    ]
    if given.json:
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return 0
    for method in listed:
        sys.stdout.write(f"{method['name']}\n    {method['summary']}\n")
        if method["paper"]:
            sys.stdout.write(f"    {method['paper']}\n")
        options = ", ".join(f"{name}={value}" for name, value in method["options"].items())
        sys.stdout.write(f"    options: {options or 'none'}\n")
    sys.stdout.write("crosscue adapt --method NAME --help explains the options of one.\n")
    return 0
