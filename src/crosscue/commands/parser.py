"""Options from dataclasses: flags, YAML and --print_config, with errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from crosscue.configuration import plain
from crosscue.errors import CrosscueError, suggestion

set_parsing_settings(docstring_parse_attribute_docstrings=True, add_print_completion_argument=True)

Options = TypeVar("Options")
SWITCHED = {"true": "true", "yes": "true", "false": "false", "no": "false"}
"""Values that may follow a boolean option: `--resume true` is `--resume`, and `--resume false` is `--no-resume`."""


class Parser(ArgumentParser):
    """A parser whose errors are one line with what is wrong and what is allowed."""

    switches: frozenset[str] = frozenset()
    """Flags of the boolean options. Options of `float | bool` always take a value."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **settings: Any
    ) -> Any:
        """Returns the options; a boolean one needs no value, and `--no-NAME` switches it off."""
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_args(switched(given, self.switches), namespace, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `CrosscueError` with the message on one line, and the nearest option for an unknown one."""
        line = plain(message)
        if "unrecognized arguments" in line.lower():
            unknown = line.split(":", 1)[1].split()[0]
            line = f"there is no option {unknown}.{self.nearest(unknown.split('=')[0])}"
        raise CrosscueError(f"{line} See `{self.prog} --help`.")

    def nearest(self, unknown: str) -> str:
        """Returns the end of a message that names the option nearest to an unknown word, or nothing."""
        flags = [f"--{key}" for key in self.get_defaults().keys()]  # noqa: SIM118
        if not unknown.startswith("-"):
            return f" Write --data {unknown}" if "--data" in flags else ""
        grouped = [flag for flag in flags if flag.endswith(f".{unknown.removeprefix('--')}")]
        return f" Did you mean '{grouped[0]}'?" if grouped else suggestion(unknown, flags).split(" Choose from")[0]


def switched(arguments: Sequence[str], switches: Collection[str]) -> list[str]:
    """Returns the arguments with a value for every boolean option: `--x` and `--no-x` become `--x=true` and `--x=false`."""
    rewritten: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return [*rewritten, argument, *left]
        if argument in switches:
            value = SWITCHED[left.pop(0).lower()] if left and left[0].lower() in SWITCHED else "true"
            rewritten.append(f"{argument}={value}")
        elif argument.startswith("--no-") and f"--{argument.removeprefix('--no-')}" in switches:
            rewritten.append(f"--{argument.removeprefix('--no-')}=false")
        else:
            rewritten.append(argument)
    return rewritten


def options_parser(verb: str, summary: str, *groups: tuple[type, str | None]) -> Parser:
    """Returns the parser of a verb from dataclasses; a group with a name takes that name as a prefix of its flags."""
    parser = Parser(prog=f"crosscue {verb}", description=summary)
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    for dataclass_type, prefix in groups:
        parser.add_class_arguments(dataclass_type, prefix)
        parser.switches |= set(booleans(dataclass_type, f"{prefix}." if prefix else ""))
    return parser


def booleans(dataclass_type: type, prefix: str) -> Iterator[str]:
    """Yields the flags of the boolean fields of a dataclass and of the dataclasses in it."""
    for name, hint in get_type_hints(dataclass_type).items():
        if hint in (bool, bool | None):
            yield f"--{prefix}{name}"
        elif isinstance(hint, type) and is_dataclass(hint):
            yield from booleans(hint, f"{prefix}{name}.")


def taken(given: Namespace, dataclass_type: type[Options]) -> Options:
    """Returns the options of one dataclass out of all that were parsed."""
    return dataclass_type(**{entry.name: given[entry.name] for entry in fields(dataclass_type)})  # type: ignore[arg-type]


def chosen(arguments: Sequence[str], key: str, default: str) -> str:
    """Returns the value of one option before the parser exists: the flag, else the YAML file, else the default."""
    value = default
    for index, argument in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        name, equals, given = argument.partition("=")
        if name == "--config":
            value = str(_yaml(given if equals else following).get(key, value))
        elif name == f"--{key}":
            value = given if equals else following
    return value


def _yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            loaded = yaml.safe_load(file)
    except OSError as error:
        raise CrosscueError(f"--config {path}: {error.strerror}. Give an existing YAML file.") from error
    except yaml.YAMLError as error:
        raise CrosscueError(f"--config {path}: not valid YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(loaded, dict):
        raise CrosscueError(f"--config {path}: holds no options. Write `key: value` lines; --print_config shows how.")
    return loaded
