"""Class names in captions, in one form: wrong and general names are replaced, articles repaired."""

from __future__ import annotations

from collections.abc import Iterable

from crosscue.data.wording import key, mentions, repaired, replaced, within
from crosscue.knowledge.captions.domains import domain_of
from crosscue.knowledge.captions.record import CaptionRecord


class ClassNames:
    """The names of all classes of a set."""

    def __init__(self, records: Iterable[CaptionRecord]) -> None:
        self.forms: dict[str, str] = {}
        for record in records:
            if record.class_name is not None:
                for form in (record.class_name, *record.class_aliases):
                    self.forms.setdefault(key(form), key(record.class_name))
        self.known: dict[tuple[frozenset[str], str], frozenset[str]] = {}

    def others(self, record: CaptionRecord) -> frozenset[str]:
        """Returns the names of other classes, without those that are part of this class's name or a general noun."""
        own = _own(record)
        found = self.known.get((own, record.meta_category))
        if found is None:
            general = {key(noun) for noun in domain_of(record.meta_category).general()}
            found = frozenset(
                form
                for form in self.forms
                if form not in own and form not in general and not any(within(form, name) for name in own)
            )
            self.known[own, record.meta_category] = found
        return found


def named(record: CaptionRecord, names: ClassNames) -> CaptionRecord:
    """Returns the record with a caption that names its class.

    Only whole words are replaced, the longest name first. Other forms of the class become its one form. In a domain with
    one class an image, names of other classes are replaced too (flag `renamed`). If the class is still absent, it replaces
    the first name of another class or the first general noun. Otherwise `A photo of a <class>.` is put in front (flag
    `prefixed`). Names of other classes that stay get the flag `other_class`.
    """
    name = record.class_name
    if name is None or not record.caption:
        return record
    record = record.unflagged("renamed", "prefixed", "other_class")
    domain, own, others = domain_of(record.meta_category), _own(record), names.others(record)
    parts = frozenset(key(noun) for noun in domain.general()) | {
        form for form in names.forms if form not in own and any(within(form, name) for name in own)
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
    """Returns true for a caption with its class name as whole words, and for a record without a class."""
    if record.class_name is None:
        return True
    return any(mention.name == key(record.class_name) for mention in mentions(record.caption, _own(record)))


def _own(record: CaptionRecord) -> frozenset[str]:
    return frozenset(key(form) for form in (record.class_name or "", *record.class_aliases) if form)
