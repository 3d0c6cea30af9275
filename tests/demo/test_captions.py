"""Captions from Unicode names: fluent and true."""

from __future__ import annotations

import pytest

from crosscue.demo.captions import article, captions, phrase


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grinning face", "a grinning face"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("hot dog", "a hot dog"),
        ("glasses", "glasses"),
        ("woman running medium-dark skin tone", "a woman with medium-dark skin tone running"),
        ("man: light skin tone, red hair", "a man with red hair and light skin tone"),
        ("person in lotus position dark skin tone", "a person with dark skin tone in lotus position"),
        ("woman teacher medium skin tone", "a woman teacher with medium skin tone"),
        ("thumbs up light skin tone", "a thumbs up with light skin tone"),
        ("people hugging", "people hugging"),
    ],
)
def test_a_name_becomes_a_noun_phrase(name: str, said: str) -> None:
    assert phrase(name) == said


def test_three_ways_to_say_it() -> None:
    assert captions("woman running", "person-activity") == (
        "An emoji of a woman running, a person doing something.",
        "A drawing of a woman running.",
        "A person doing something: a woman running.",
    )


def test_articles() -> None:
    assert [article(word) for word in ("octopus", "eucalyptus leaf", "scissors", "two hearts")] == ["an ", "a ", "", ""]
