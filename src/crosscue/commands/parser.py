"""Options from dataclasses: flags, YAML and --print_config, with errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import TextWrapper
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from crosscue.configuration import plain
from crosscue.errors import CrosscueError, OptionError, suggestion

set_parsing_settings(docstring_parse_attribute_docstrings=True, add_print_completion_argument=True)

Options = TypeVar("Options")
EVERY_OPTION = "--help-all"
"""Flag that lists the options beyond those for beginners."""
SWITCHED = {"true": "true", "yes": "true", "false": "false", "no": "false"}
"""Values that may follow a boolean option: `--resume true` is `--resume`, and `--resume false` is `--no-resume`."""


STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output, which `-` is too."""


class Parser(ArgumentParser):
    """A parser whose errors are one line with what is wrong and what is allowed."""

    switches: frozenset[str] = frozenset()
    """Flags of the boolean options. Options of `float | bool` always take a value."""
    outputs: frozenset[str] = frozenset()
    """Flags of `bool | Path`: bare they mean standard output, and a value is a file."""
    given: Sequence[str] = ()
    """Arguments of the latest parse, with a value for every boolean option."""
    places: frozenset[str] = frozenset()
    """Flags of the options that name a file or folder."""
    beginning: Mapping[str, str] = MappingProxyType({})
    """Options for beginners -> their text: all that `--help` lists. Empty: `--help` lists every option."""
    hints: Mapping[str, Any] = MappingProxyType({})
    """Option or group of options -> its type, for the check of YAML files."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **settings: Any
    ) -> Any:
        """Returns the options; a boolean one needs no value, and `--no-NAME` switches it off."""
        self.given = given = switched(sys.argv[1:] if args is None else list(args), self.switches, self.outputs)
        for argument, following in zip(given, [*given, "-"][1:], strict=True):
            if argument.removesuffix("=") in self.places and not (following if argument[-1:] != "=" else ""):
                self.error(f"{argument.removesuffix('=')} is empty. Name a file or folder, or leave it out")
        for path in configs(given):
            try:
                check_names(self.hints, _yaml(path), "")
            except OptionError as error:
                self.error(str(error))
        if EVERY_OPTION in given:
            sys.stdout.write(super().format_help())
            self.exit()
        return super().parse_args(given, namespace, **settings)

    def format_help(self, formatter: Any = None) -> str:
        """Returns the text of `--help`: of a verb with options for beginners, these alone."""
        if not self.beginning:
            return super().format_help(formatter)
        width = max(map(len, self.beginning)) + 2
        wrap = TextWrapper(width=100, initial_indent="", subsequent_indent=" " * (width + 2))
        lines = [wrap.fill(f"  {option:<{width}}{text}") for option, text in self.beginning.items()]
        return (
            f"usage: {self.prog} [options]\n\n{self.description}\n\n" + "\n".join(lines) + "\n\n"
            f"Every option, with its type and default: {self.prog} {EVERY_OPTION}\n"
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `CrosscueError` with the message on one line, and the nearest option for an unknown one."""
        line = plain(message)
        if "unrecognized arguments" in line.lower():
            unknown = line.split(":", 1)[1].split()[0]
            line = f"there is no option {unknown}.{self.nearest(unknown.split('=')[0])}"
        line += "" if line.endswith((".", "?")) else "."
        # The parser of a dataclass inside a list of a grid has no command of its own.
        raise CrosscueError(f"{line} See `{self.prog} --help`." if self.prog.startswith("crosscue ") else line)

    def nearest(self, unknown: str) -> str:
        """Returns the end of a message: the option nearest to an unknown word, the values of a boolean option, or nothing."""
        known = {flag for action in self._actions for flag in action.option_strings}
        flags = [flag for key in self.get_defaults().keys() if (flag := f"--{key}") in known]  # noqa: SIM118
        if not unknown.startswith("-"):
            before = dict(zip(self.given[1:], self.given, strict=False)).get(unknown, "").removesuffix("=true")
            if before in self.switches:
                return f" {before} is true or false: write {before} or --no-{before.removeprefix('--')}"
            return f" Write --data {unknown}" if "--data" in flags and "--data" not in self.given else ""
        grouped = [flag for flag in flags if flag.endswith(f".{unknown.removeprefix('--')}")]
        if grouped:
            return f" Did you mean '{grouped[0]}'?"
        group = unknown.rpartition(".")[0] + "."
        inside = [flag for flag in flags if flag.startswith(group)]
        if group == "--options." and not inside and (method := self.get_defaults().get("method")):
            reason = "`auto` chooses the options of the methods itself" if method == "auto" else f"{method} has none"
            return f" {reason}. Name the method that it belongs to: --method NAME"
        near = suggestion(unknown.removeprefix(group), [flag.removeprefix(group) for flag in inside])
        if inside and "Did you mean" not in near:
            return f" Choose from: {', '.join(sorted(inside))}"
        return suggestion(unknown, inside or flags).split(" Choose from")[0]


def switched(arguments: Sequence[str], switches: Collection[str], outputs: Collection[str] = ()) -> list[str]:
    """Returns the arguments with a value for every boolean option: `--x` and `--no-x` become `--x=true` and `--x=false`.

    A flag of `outputs` gets the value `true` where no value follows it, or a name of standard output.
    """
    rewritten: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return [*rewritten, argument, *left]
        if argument in switches:
            value = SWITCHED[left.pop(0).lower()] if left and left[0].lower() in SWITCHED else "true"
            rewritten.append(f"{argument}={value}")
        elif argument in outputs and (not left or left[0].startswith("-") or left[0] in STANDARD_OUTPUT):
            if left and left[0] in ("-", *STANDARD_OUTPUT):
                left.pop(0)
            rewritten.append(f"{argument}=true")
        elif argument.partition("=")[0] in outputs and argument.partition("=")[2] in ("-", *STANDARD_OUTPUT):
            rewritten.append(f"{argument.partition('=')[0]}=true")
        elif argument.startswith("--no-") and f"--{argument.removeprefix('--no-')}" in switches:
            rewritten.append(f"--{argument.removeprefix('--no-')}=false")
        else:
            rewritten.append(argument)
    return rewritten


def options_parser(verb: str, summary: str, *groups: tuple[type, str | None]) -> Parser:
    """Returns the parser of a verb from dataclasses; a group with a name takes that name as a prefix of its flags."""
    parser = Parser(prog=f"crosscue {verb}", description=summary, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    for dataclass_type, prefix in groups:
        parser.add_class_arguments(dataclass_type, prefix)
        before = f"{prefix}." if prefix else ""
        parser.switches |= set(flags_of(dataclass_type, before, bool, bool | None))
        parser.outputs |= set(flags_of(dataclass_type, before, bool | Path))
        parser.places |= set(flags_of(dataclass_type, before, Path, Path | None, bool | Path))
        parser.hints = {**parser.hints, **({prefix: dataclass_type} if prefix else get_type_hints(dataclass_type))}
    return parser


def configs(arguments: Sequence[str]) -> Iterator[str]:
    """Yields the YAML files that the arguments name with --config."""
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, equals, given = argument.partition("=")
        if name == "--config":
            yield given if equals else following


def check_names(hint: Any, value: Any, where: str) -> None:
    """Checks the names of all options in a part of a YAML file, at any depth.

    Args:
        hint: type of the part: a dataclass, a mapping of names to types, or a list, dict or union of such types.
        value: content of the part.
        where: place of the part in the file, such as `training`.

    Raises:
        OptionError: a name is unknown, or a value stands where options are expected. The message lists what is allowed.
    """
    fixed = get_type_hints(hint) if isinstance(hint, type) and is_dataclass(hint) else hint
    if isinstance(fixed, Mapping):
        if not isinstance(value, dict):
            raise OptionError(f"{where} is {value!r}; it must hold options: {', '.join(sorted(fixed)) or '(none)'}")
        for name, part in value.items():
            inside = f"{where}.{name}" if where else str(name)
            if name not in fixed:
                raise OptionError(f"there is no option {inside}.{suggestion(str(name), fixed or ['(none)'])}")
            check_names(fixed[name], part, inside)
    elif get_origin(hint) is dict and isinstance(value, dict):
        for name, part in value.items():
            check_names(get_args(hint)[1], part, f"{where}.{name}")
    elif get_args(hint) and value is not None:
        for part in value if isinstance(value, list) else [value]:
            check_names(get_args(hint)[0], part, where)


def flags_of(dataclass_type: type, prefix: str, *types: Any) -> Iterator[str]:
    """Yields the flags of the fields that have one of `types`, in a dataclass and in the dataclasses in it."""
    for name, hint in get_type_hints(dataclass_type).items():
        if hint in types:
            yield f"--{prefix}{name}"
        elif isinstance(hint, type) and is_dataclass(hint):
            yield from flags_of(hint, f"{prefix}{name}.", *types)


def taken(given: Namespace, dataclass_type: type[Options]) -> Options:
    """Returns the options of one dataclass out of all that were parsed."""
    return dataclass_type(**{entry.name: given[entry.name] for entry in fields(dataclass_type)})  # type: ignore[arg-type]


def chosen(arguments: Sequence[str], key: str, default: str) -> str:
    """Returns the value of one option before the parser exists: the flag, else the YAML file, else the default."""
    value = default
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, equals, given = argument.partition("=")
        if name == "--config":
            kept = _yaml(given if equals else following).get(key)
            value = value if kept is None else str(kept)
        elif name == f"--{key}":
            value = given if equals else following
    return value


def named(arguments: Sequence[str], *groups: str) -> Iterator[str]:
    """Yields the options of some groups that flags and YAML files give, such as `training.lr`."""
    for argument in arguments:
        option = argument.partition("=")[0].removeprefix("--").removeprefix("no-")
        if argument.startswith("--") and option.partition(".")[0] in groups:
            yield option
    for path in configs(arguments):
        given = _yaml(path)
        for group in groups:
            inside = given.get(group)
            yield from (f"{group}.{name}" for name in (inside if isinstance(inside, dict) else {}))


def _yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            loaded = yaml.safe_load(file)
    except OSError as error:
        raise CrosscueError(f"--config {path}: {error.strerror}. Give an existing YAML file.") from error
    except UnicodeDecodeError as error:
        raise CrosscueError(f"--config {path}: not UTF-8 text. Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise CrosscueError(f"--config {path}: not valid YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(loaded, dict):
        raise CrosscueError(f"--config {path}: holds no options. Write `key: value` lines; --print_config shows how.")
    return loaded
