"""Options of a dataclass from Python, YAML or a loaded run, checked by the parser of the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from crosscue.errors import OptionError, suggestion

Config = TypeVar("Config")
_configs: dict[tuple[type, str], object] = {}
"""Configs that are checked already: a parse takes 10 ms, and a grid has thousands of equal ones."""
NAMES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list in brackets, such as '[tensorboard]'",
    "dict": "a mapping",
}


def configured(config_class: type[Config], values: Mapping[str, Any] | object | None, what: str) -> Config:
    """Returns a config whose names, types and choices are checked.

    Args:
        config_class: a dataclass.
        values: a mapping of its fields, an instance of it, or None for the defaults.
        what: owner of the options in messages, such as `training` or `method 'dcar'`.

    Raises:
        OptionError: a field is unknown, or its value has a wrong type or is none of the choices. The message lists what is
            allowed.
    """
    names = [entry.name for entry in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    if isinstance(values, config_class):
        values = {name: getattr(values, name) for name in names}
    if not isinstance(values, Mapping | NoneType):
        raise OptionError(f"{what} is {values!r}; it must be a mapping or a {config_class.__name__}.")
    given = {str(name): value for name, value in (values or {}).items()}
    parser, optional = _parser(config_class)  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in names:
            raise OptionError(f"{what} has no option '{name}'.{suggestion(name, names or ['(none)'])}")
        if value is None and name not in optional:
            raise OptionError(f"{what}: {name} is null. Leave it out for its default.")
    with contextlib.suppress(TypeError):  # a value that JSON cannot hold is parsed each time
        key = (config_class, json.dumps(given, sort_keys=True))
        if key not in _configs:
            _configs[key] = _parsed(config_class, parser, given, what)
        return cast(Config, _configs[key])
    return _parsed(config_class, parser, given, what)


def _parsed(config_class: type[Config], parser: ArgumentParser, given: dict[str, Any], what: str) -> Config:
    try:
        parsed = parser.instantiate(parser.parse_object(given))
    except (ArgumentError, TypeError, ValueError) as error:
        raise OptionError(f"{what}: {plain(str(error)).rstrip('.')}.") from error
    return config_class(**{name: parsed[name] for name in given})


def plain(message: str) -> str:
    """Returns a message of jsonargparse as one plain line: the option, its value and what is allowed."""
    line = " ".join(message.split())
    named = re.search(r'Parser key "([^"]+)"', line)
    expected = re.search(r"Subtypes: \[(.*?)\] Errors|Expected an? (.*?)\. Got value", line)
    got = re.search(r"(?:Got value|Given value): (.*)$", line)
    if not (named and expected and got):
        return line
    types = re.sub(r"typing\.|<class '|'>", "", expected[1] or expected[2])
    choices = [word.strip(" '") for group in re.findall(r"Literal\[(.*?)\]", types) for word in group.split(",")]
    kinds = [NAMES.get(kind.strip(), kind.strip()) for kind in re.sub(r"Literal\[.*?\]", "", types).split(",")]
    allowed = [*(["one of " + ", ".join(choices)] if choices else []), *filter(None, kinds)]
    return f"{named[1]} is {got[1]}; it must be {' or '.join(allowed)}."


@functools.cache
def _parser(config_class: type) -> tuple[ArgumentParser, frozenset[str]]:
    """Returns the parser of a dataclass, and the fields that may be None."""
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(config_class)
    hints: dict[str, Any] = {}
    with contextlib.suppress(NameError):  # the dataclass of a plug-in may name types that exist for its checker only
        hints = get_type_hints(config_class)
    optional = [name for name, hint in hints.items() if NoneType in get_args(hint) or hint is Any]
    return parser, frozenset(optional if hints else (e.name for e in dataclasses.fields(config_class)))
