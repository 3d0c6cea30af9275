"""Changes to the words of a caption: noise, spacing, names, articles, length, duplicates."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscue.data.wording import mentions
from crosscue.errors import CrosscueError
from crosscue.knowledge.actions.language import looks_english
from crosscue.knowledge.captions.cleaning import cleaned, spaced, statements, without_noise
from crosscue.knowledge.captions.domains import DOMAINS, domain_of
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.judging import common_spans, objection, sampled
from crosscue.knowledge.captions.naming import ClassNames, named, names_class
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.captions.rewriting import (
    duplicate_counts,
    duplicate_groups,
    shortened,
    with_groups,
    within_length,
)
from crosscue.knowledge.failures import Refused


def record(caption: str, name: str | None = "Basset Hound", domain: str = "pets", **more: Any) -> CaptionRecord:
    fields = {"id": "1", "dataset": "d", "image_path": "a.jpg", "image_sha256": "0", **more}
    return CaptionRecord(caption=caption, class_name=name, meta_category=domain, **fields)


def classes(*names: str, domain: str = "pets") -> ClassNames:
    return ClassNames(record("", name, domain) for name in names)


PETS = classes("Basset Hound", "beagle", "Shiba Inu", "Abyssinian", "English Setter", "Bulldog", "American Bulldog")


def words(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The image shows a dog on a rug", "A dog on a rug."),
        ("This is a close-up photo of a dog.It sleeps.", "A dog. It sleeps."),
        (
            "In this picture, we can see a dog. The background of the image is green.",  # words: ok
            "A dog. The background is green.",
        ),  # words: ok
        ("Sure, here is the description:\n\nA dog sits.", "A dog sits."),
        ("**Caption:** A *small* dog  sits , happily", "A small dog sits, happily."),
        ("```\nA dog sits.\n```", "A dog sits."),
        ("# Description\n- A dog sits.\n- A cat lies.", "A dog sits. A cat lies."),
        ('"A dog sits."', "A dog sits."),
        ("A dog sits. See https://dogs.example/x for more. Let me know if you need more!", "A dog sits. See for more."),
        ("A dog sits. [A link](http://x.example) lies.", "A dog sits. A link lies."),
        ("A dog sits. Begin with the main object. Write only the description.", "A dog sits."),
        ("<think>what is it</think>A dog sits", "A dog sits."),
        ("A dog sits in front of a photograph of a cat.", "A dog sits in front of a photograph of a cat."),
        ("A photo of a beagle. A dog sits.", "A photo of a beagle. A dog sits."),
    ],
)
def test_noise_is_removed(said: str, expected: str) -> None:
    assert without_noise(said) == expected
    assert without_noise(expected) == expected


def test_noise_flags() -> None:
    assert cleaned(record("I'm sorry, I can't see a picture.")) == record("", flags=("refused",))  # words: ok
    assert cleaned(record("![](http://x.example/y)")).flags == ("empty",)
    assert cleaned(record("A dog sits. The photo was taken from above.")).flags == ("meta_phrase",)
    assert cleaned(record("Ein Hund liegt auf einem Teppich und schaut ins Licht.")).flags == ("not_english",)
    assert cleaned(record("Собака лежит на ковре.")).flags == ("not_english",)
    assert cleaned(record("A dog lies on a rug and looks into the light.")).flags == ()
    assert looks_english("Golden fur, green grass.")


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a dog.It sits", "A dog. It sits."),
        ("a  dog ,brown  . It sits !", "A dog, brown. It sits!"),
        ("A Boeing 737.5 over St. Gallen,with 1,000 seats", "A Boeing 737.5 over St. Gallen, with 1,000 seats."),
        ("", ""),
        ("A dog sits,", "A dog sits."),
    ],
)
def test_spacing(given_text: str, expected: str) -> None:
    assert spaced(given_text) == expected


def test_sentences_end_where_they_end() -> None:
    assert statements("A St. Bernard sits. It has 4.5 kg! A U.S. Army truck.") == [
        "A St. Bernard sits.",
        "It has 4.5 kg!",
        "A U.S. Army truck.",
    ]


@pytest.mark.parametrize(
    ("caption", "name", "expected", "flags"),
    [
        ("A dog sits. The dog is brown.", "Basset Hound", "A Basset Hound sits. The dog is brown.", ()),
        ("A dog sits.", "Abyssinian", "An Abyssinian sits.", ()),
        ("An animal sits.", "Shiba Inu", "A Shiba Inu sits.", ()),
        ("Dog on a rug.", "beagle", "Beagle on a rug.", ()),
        ("A basset hound sits.", "Basset Hound", "A Basset Hound sits.", ()),
        ("A basset-hound's ears.", "Basset Hound", "A Basset Hound's ears.", ()),
        ("Two shiba inus sit.", "Shiba Inu", "Two Shiba Inus sit.", ()),
        ("A Shiba Inu shiba inu sits.", "Shiba Inu", "A Shiba Inu sits.", ()),
        ("A Shiba dog sits.", "Shiba Inu", "A Shiba Inu sits.", ()),
        ("A beagle sits on a rug. The beagle sleeps.", "English Setter", "An English Setter sits on a rug. The English Setter sleeps.", ("renamed",)),
        ("A Basset Hound, or beagle, sits.", "Basset Hound", "A Basset Hound, or Basset Hound, sits.", ("renamed",)),
        ("An American Bulldog sits.", "Bulldog", "A Bulldog sits.", ("renamed",)),
        ("A bulldog sits.", "American Bulldog", "An American Bulldog sits.", ()),
        ("Brown fur on a sofa.", "Abyssinian", "A photo of an Abyssinian. Brown fur on a sofa.", ("prefixed",)),
        ("Two dogs sit.", "beagle", "A photo of a beagle. Two dogs sit.", ("prefixed",)),
        ("A hotdog and a cat-like toy.", "beagle", "A photo of a beagle. A hotdog and a cat-like toy.", ("prefixed",)),
    ],
)  # fmt: skip
def test_every_caption_names_its_class(caption: str, name: str, expected: str, flags: tuple[str, ...]) -> None:
    found = named(record(caption, name), PETS)
    assert found.caption == expected
    assert found.flags == flags
    assert names_class(found)
    again = named(found, PETS)
    assert again.caption == expected  # naming twice changes nothing


def test_names_in_domains_where_several_things_are_shown() -> None:
    names = classes("lamp", "chair", "soccer ball", domain="objects")
    shown = named(record("A lamp beside a chair.", "lamp", "objects"), names)
    assert (shown.caption, shown.flags) == ("A lamp beside a chair.", ("other_class",))
    wrong = named(record("A chair beside a soccer ball.", "lamp", "objects"), names)
    assert (wrong.caption, wrong.flags) == ("A lamp beside a soccer ball.", ("other_class", "renamed"))
    general = named(record("An object on a chair.", "lamp", "objects"), names)
    assert general.caption == "A lamp on a chair."


def test_substrings_of_names() -> None:
    names = classes("rose", "desert-rose", "mexican aster", "mexican petunia", "F-16A/B", "F/A-18", domain="flowers")
    assert [m.name for m in mentions("A desert-rose by a rose, a primrose.", names.forms)] == ["desert rose", "rose"]
    rose = named(record("A pink desert-rose blooms.", "rose", "flowers"), names)
    assert rose.caption == "A pink rose blooms."
    aster = named(record("A mexican petunia blooms.", "mexican aster", "flowers"), names)
    assert aster.caption == "A mexican aster blooms."
    jet = named(record("A f-16a/b on an airplane deck.", "F-16A/B", "aircraft"), names)
    assert jet.caption == "An F-16A/B on an airplane deck."


def test_aliases_become_the_one_form() -> None:
    known = record("A basset dog lies there.", class_aliases=("basset dog", "basset"))
    found = named(known, ClassNames([known]))
    assert found.caption == "A Basset Hound lies there."
    assert named(record("Anything."), ClassNames([record("")])).caption == "A photo of a Basset Hound. Anything."
    assert named(record("Anything.", None), ClassNames([])).caption == "Anything."


@given(
    st.lists(
        st.sampled_from(["a", "an", "dog", "the", "beagle", "Shiba", "Inu", "American Bulldog", "bulldog", "Abyssinian", "cats", "sits.", "on", "hound"]),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from(["Basset Hound", "beagle", "Shiba Inu", "Abyssinian", "Bulldog", "American Bulldog"]),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_naming_holds_for_any_words(spoken: list[str], name: str) -> None:
    found = named(record(" ".join(spoken), name), PETS)
    assert names_class(found)
    assert f"{name} {name}".lower() not in found.caption.lower()
    others = {m.name for m in mentions(found.caption, PETS.others(found))}
    assert not others  # one class an image: no other name is left
    wanted = "a" if name[0] not in "AEIOU" else "an"
    for article_said in re.findall(rf"\b(an?) {name}\b", found.caption, re.IGNORECASE):
        assert article_said.lower() == wanted


def test_lengths() -> None:
    long = "A Basset Hound sits on a rug. It is brown. Behind it stands an old chair."
    short = shortened(record(long), 13, words)
    assert (short.caption, short.n_tokens) == ("A Basset Hound sits on a rug. It is brown.", 12)
    assert shortened(record(long), 100, words).caption == long
    hopeless = shortened(record(long), 3, words)
    assert hopeless.caption == long and hopeless.n_tokens == words(long)
    late = "Something brown sits on a rug. It is a Basset Hound."
    assert shortened(record(late), 8, words).caption == late  # the class stays in


class Writer:
    """A writer with one reply."""

    def __init__(self, said: str | Exception) -> None:
        self.said, self.calls = said, 0

    async def say(self, turns: Any) -> str:
        self.calls += 1
        self.question = turns[-1].text
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "caption", "flags"),
    [
        ("A dog sits on a very old rug", "A Basset Hound sits on a very old rug.", ()),
        ("No.", None, ("too_long",)),
        ("word " * 40, None, ("too_long",)),
        (Refused("no"), None, ("too_long",)),
    ],
)
def test_compression(said: Any, caption: str | None, flags: tuple[str, ...]) -> None:
    long = "A Basset Hound sits on a rug " + "and on another rug " * 5 + "in the sun."
    writer: Any = Writer(said)
    found = asyncio.run(within_length(record(long), writer, Writing(max_tokens=15), PETS, words))
    assert (found.caption, found.flags) == (caption or long, flags)
    assert writer.calls == 1 and "'Basset Hound'" in writer.question


def test_duplicates_are_found_whatever_their_punctuation() -> None:
    same = [record("A dog sits.", id=str(n)) for n in range(2)] + [record("a  Dog, sits", id="2"), record("", id="3")]
    other = record("A cat sits.", id="4")
    assert [r.id for r in next(iter(duplicate_groups([*same, other]).values()))] == ["0", "1", "2"]
    assert duplicate_counts([*same, other]) == {"0": 3, "1": 3, "2": 3}
    marked = with_groups([*same, other])
    assert len({r.dup_group for r in marked[:3]}) == 1 and marked[0].dup_group is not None
    assert [r.flags for r in marked] == [("duplicate",)] * 3 + [(), ()]
    assert with_groups([marked[0]])[0].dup_group is None


@pytest.mark.parametrize(
    ("revised", "why"),
    [
        ("A brown Basset Hound sits on a red rug.", ""),
        ("A dog SITS on a rug", "repeats"),
        ("A dog.", "fewer than 8"),
        ("word " * 30, "more than 20"),
        ("A beagle sits on a red rug, quite happy.", "another class (beagle)"),
        ("I'm sorry, but I cannot revise this caption.", "refusal"),
    ],
)
def test_revisions_that_are_rejected(revised: str, why: str) -> None:
    seen = {"a dog sits on a rug"}
    found = objection("A dog sits on a rug.", revised, record(""), seen, Writing(max_tokens=20), PETS, words)
    assert why in found and bool(found) == bool(why)


def test_spans_of_two_judges() -> None:
    caption = "A dog with a red collar sits on a rug."
    assert common_spans(("a red collar", "a hat"), ["red collar", "rug"], caption) == ["red collar"]
    assert common_spans(("a hat",), ["a hat"], caption) == []
    assert common_spans(("red",), ["colour red of"], caption) == ["red"]


def test_samples_are_fixed_and_of_the_size() -> None:
    chosen = [sampled(str(n), 0.1, "review") for n in range(5000)]
    assert 400 < sum(chosen) < 600
    assert chosen == [sampled(str(n), 0.1, "review") for n in range(5000)]
    assert not any(sampled(str(n), 0.0, "x") for n in range(100)) and all(sampled(str(n), 1.0, "x") for n in range(100))


def test_domains() -> None:
    assert all(domain.focus and domain.general() for domain in DOMAINS.values())
    with pytest.raises(CrosscueError, match="Did you mean 'flowers'"):
        domain_of("flower")
