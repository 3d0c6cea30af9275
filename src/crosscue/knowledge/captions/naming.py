"""Every caption names its class, once and the same way: wrong and general names are replaced, articles repaired."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from crosscue.knowledge.captions.articles import article, matched_case
from crosscue.knowledge.captions.domains import domain_of
from crosscue.knowledge.captions.record import CaptionRecord


@dataclass(frozen=True)
class Mention:
    """A name in a text."""

    start: int
    end: int
    name: str
    """The form it was found by, in lower case."""
    plural: str
    """The ending of a plural, or nothing."""


class ClassNames:
    """The names of all classes of a set."""

    def __init__(self, records: Iterable[CaptionRecord]) -> None:
        self.forms: dict[str, str] = {}
        for record in records:
            if record.class_name is not None:
                for form in (record.class_name, *record.class_aliases):
                    self.forms.setdefault(_key(form), _key(record.class_name))
        self.known: dict[tuple[frozenset[str], str], frozenset[str]] = {}

    def others(self, record: CaptionRecord) -> frozenset[str]:
        """Returns the names of other classes, without those that are part of this class's name or a general noun."""
        own = _own(record)
        found = self.known.get((own, record.meta_category))
        if found is None:
            general = {_key(noun) for noun in domain_of(record.meta_category).general()}
            found = frozenset(
                form
                for form in self.forms
                if form not in own and form not in general and not any(_within(form, name) for name in own)
            )
            self.known[own, record.meta_category] = found
        return found


def named(record: CaptionRecord, names: ClassNames) -> CaptionRecord:
    """Returns the record with a caption that names its class.

    Whole words only, longest name first. Other forms of the class become its one form. Where the domain shows one class
    a picture, names of other classes are replaced (flag `renamed`). Where the class is still absent, the first name of
    another class or general noun gives way to it, else ``A photo of a <class>.`` stands in front (flag `prefixed`). Names of
    other classes that stay are flagged `other_class`.
    """
    name = record.class_name
    if name is None or not record.caption:
        return record
    record = record.unflagged("renamed", "prefixed", "other_class")
    domain, own, others = domain_of(record.meta_category), _own(record), names.others(record)
    parts = frozenset(_key(noun) for noun in domain.general()) | {
        form for form in names.forms if form not in own and any(_within(form, name) for name in own)
    }
    found = mentions(record.caption, own | others | parts)
    present = any(mention.name in own for mention in found)
    wrong = [mention for mention in found if mention.name in others]
    general = [mention for mention in found if mention.name in parts and not mention.plural]
    chosen = [mention for mention in found if mention.name in own]
    flags = set()
    if wrong and (domain.one_class or (not present and wrong[0] == min([*wrong, *general[:1]], key=lambda m: m.start))):
        chosen += [mention for mention in wrong if domain.one_class or mention.name == wrong[0].name]
        flags.add("renamed")
    elif not present and general:
        chosen.append(general[0])
    caption = replaced(record.caption, chosen, name)
    if not chosen:
        caption = repaired(f"A photo of a {name}. {caption}", name)
        flags.add("prefixed")
    if any(mention.name in others for mention in mentions(caption, own | others)):
        flags.add("other_class")
    return record.with_caption(caption).flagged(*flags)


def names_class(record: CaptionRecord) -> bool:
    """Says whether the caption holds its class's name as whole words; true where there is no class."""
    if record.class_name is None:
        return True
    return any(mention.name == _key(record.class_name) for mention in mentions(record.caption, _own(record)))


def mentions(text: str, forms: Iterable[str]) -> list[Mention]:
    """Returns where `forms` stand in a text as whole words, singular or plural, the longest first where several begin.

    A hyphen is part of a word: ``rose`` is not in ``desert-rose``. Spaces, hyphens and underscores within a name are alike.
    """
    pattern = _pattern(frozenset(forms))
    if pattern is None:
        return []
    return [
        Mention(match.start(), match.end(), _key(match.group(1)), match.group(2) or "")
        for match in pattern.finditer(text)
    ]


def replaced(text: str, chosen: Iterable[Mention], name: str) -> str:
    """Returns the text with `name` at the chosen places, each once; no name is doubled, articles fit."""
    for mention in sorted(chosen, key=lambda mention: -mention.start):
        before, after = text[: mention.start], text[mention.end :]
        ending = mention.plural if not name.lower().endswith("s") else ""
        before, after = _without_overlap(before, after, name)
        begins = not before.strip() or re.search(r"[.!?][\"'”)]?\s*$", before) is not None
        text = before + (name[0].upper() + name[1:] if begins else name) + ending + after
    return repaired(text, name)


def repaired(text: str, name: str) -> str:
    """Returns the text without a doubled `name`, and with a or an before it as it is spoken."""
    own = r"[\s_-]+".join(map(re.escape, _key(name).split()))
    text = re.sub(rf"(?<![\w-])({own})(?:\s+{own})+(?![\w-])", r"\1", text, flags=re.IGNORECASE)
    return re.sub(
        rf"(?<![\w-])(an?)(\s+)(?={own}(?![\w-]))",
        lambda match: matched_case(article(name), match.group(1)) + match.group(2),
        text,
        flags=re.IGNORECASE,
    )


def _without_overlap(before: str, after: str, name: str) -> tuple[str, str]:
    """Returns what stands around a name without its own first or last words: ``Siamese [Siamese cat]`` -> ``[Siamese cat]``."""
    words = _key(name).split()
    for count in range(len(words) - 1, 0, -1):
        head = re.search(
            r"(?<![\w-])" + r"[\s_-]+".join(map(re.escape, words[:count])) + r"\s+$", before, re.IGNORECASE
        )
        if head:
            before = before[: head.start()]
            break
    for count in range(len(words) - 1, 0, -1):
        tail = re.match(r"\s+" + r"[\s_-]+".join(map(re.escape, words[-count:])) + r"(?![\w-])", after, re.IGNORECASE)
        if tail:
            after = after[tail.end() :]
            break
    return before, after


def _own(record: CaptionRecord) -> frozenset[str]:
    return frozenset(_key(form) for form in (record.class_name or "", *record.class_aliases) if form)


@functools.lru_cache(maxsize=4096)
def _pattern(forms: frozenset[str]) -> re.Pattern[str] | None:
    ordered = sorted({_key(form) for form in forms if _key(form)}, key=lambda form: (-len(form), form))
    if not ordered:
        return None
    alternatives = "|".join(r"[\s_-]+".join(map(re.escape, form.split())) for form in ordered)
    return re.compile(rf"(?<![\w-])({alternatives})(s|es)?(?![\w-])", re.IGNORECASE)


@functools.lru_cache(maxsize=100_000)
def _key(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.lower())).strip()


def _within(part: str, whole: str) -> bool:
    return f" {part} " in f" {whole} "
