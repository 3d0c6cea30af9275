"""Boolean options of the command line: bare, switched off, and with a value."""

from __future__ import annotations

import json

import pytest

from crosscue.cli import dispatch
from crosscue.commands.options import AdaptOptions
from crosscue.commands.parser import options_parser
from crosscue.errors import CrosscueError
from crosscue.methods.dual_prompt import DualPromptConfig


@pytest.mark.parametrize(
    ("arguments", "resume", "tuned"),
    [
        ([], False, False),
        (["--resume"], True, False),
        (["--resume", "--options.tune_projection"], True, True),
        (["--resume", "true", "--options.tune_projection", "True"], True, True),
        (["--resume=true"], True, False),
        (["--resume", "false", "--options.tune_projection"], False, True),
        (["--resume", "--no-resume"], False, False),
        (["--options.tune_projection", "--no-options.tune_projection"], False, False),
    ],
)
def test_a_boolean_option_needs_no_value(arguments: list[str], resume: bool, tuned: bool) -> None:
    parser = options_parser("adapt", "", (AdaptOptions, None), (DualPromptConfig, "options"))
    given = parser.parse_args(arguments)
    assert (given.resume, given.options.tune_projection) == (resume, tuned)


@pytest.mark.parametrize(("value", "expected"), [("false", False), ("0.2", 0.2)])
def test_an_option_of_a_number_or_a_boolean_takes_its_value(value: str, expected: object) -> None:
    assert options_parser("adapt", "", (AdaptOptions, None)).parse_args(["--validation", value]).validation == expected


def test_a_flag_that_is_not_boolean_cannot_be_switched_off() -> None:
    with pytest.raises(CrosscueError, match="there is no option --no-out"):
        options_parser("adapt", "", (AdaptOptions, None)).parse_args(["--no-out"])


def test_a_bare_flag_may_stand_before_a_positional() -> None:
    parser = options_parser("adapt", "", (AdaptOptions, None))
    parser.add_argument("data")
    given = parser.parse_args(["--resume", "pairs.jsonl"])
    assert (given.resume, given.data) == (True, "pairs.jsonl")


def test_methods_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert "dual_prompt" in {method["name"] for method in listed}
