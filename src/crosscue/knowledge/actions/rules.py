"""Action triplets from an English caption without a model: word classes, noun chunks and word order. Deterministic.

An approximation of parsing, good at the plain present tense of captions. What the rules do not understand they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.knowledge.actions.states import template_states
from crosscue.knowledge.actions.tagging import Word, tagged
from crosscue.knowledge.actions.validation import MOST, deduplicated

SENTENCE = re.compile(r"[.!?]+(?:\s+|$)")
NO_RELATION = frozenset(
    ["of", "to", "for", "from", "about", "as", "during", "into", "per", "till", "until", "via", "at night"]
)
WORN = frozenset(["in", "with"])
WRAPPERS = frozenset(["photo", "picture", "image", "view", "shot", "photograph"])


@dataclass(slots=True)
class Chunk:
    """A noun and what stands before it: words[start:end]."""

    start: int
    end: int
    noun: str
    head: str
    adjectives: tuple[str, ...]
    governed: str = ""
    """The preposition before it; empty for subjects and objects."""
    negated: bool = False


@dataclass(slots=True)
class Clause:
    """A verb at words[at], the words of its action, and who does it."""

    at: int
    subjects: list[Chunk]
    passive: bool


def rules_knowledge(captions: Iterable[str]) -> ActionKnowledge:
    """Returns what the rules find in each caption, with template states; `null` where they find nothing."""
    return ActionKnowledge({caption: caption_knowledge(caption) for caption in dict.fromkeys(captions)})


def caption_knowledge(caption: str) -> CaptionKnowledge:
    """Returns one caption's knowledge; `null` for a caption that is not English."""
    triplets = rules_triplets(caption)
    return CaptionKnowledge(triplets, template_states(triplets), "rules") if triplets else CaptionKnowledge()


def rules_triplets(caption: str) -> tuple[Triplet, ...]:
    """Returns at most 8 triplets: actions in the order of the caption, then relations, then attributes."""
    if not is_english(caption):
        return ()
    actions: list[Triplet] = []
    relations: list[Triplet] = []
    attributes: list[Triplet] = []
    subject: Chunk | None = None
    for sentence in SENTENCE.split(caption):
        reading = _Reading(tagged(sentence), subject)
        reading.read()
        actions += reading.actions
        relations += reading.relations
        attributes += reading.attributes
        subject = reading.main or subject
    return deduplicated((*actions, *relations, *attributes))[:MOST]


class _Reading:
    """One sentence on its way to triplets."""

    def __init__(self, words: list[Word], context: Chunk | None) -> None:
        self.words, self.context = words, context
        self.chunks = _chunks(words)
        self.starts = {chunk.start: chunk for chunk in self.chunks}
        self.ends = {chunk.end: chunk for chunk in self.chunks}
        self.actions: list[Triplet] = []
        self.relations: list[Triplet] = []
        self.attributes: list[Triplet] = []
        self.main = next((chunk for chunk in self.chunks if not chunk.governed and chunk.noun not in WRAPPERS), None)
        self.objects: set[int] = set()
        """Where chunks start that a verb has taken as its object."""
        self.acting: list[Chunk] = []
        """Who did the last verb."""

    def tag(self, index: int) -> str:
        return self.words[index].tag if 0 <= index < len(self.words) else "stop"

    def text(self, index: int) -> str:
        return self.words[index].text if 0 <= index < len(self.words) else ""

    def read(self) -> None:
        """Finds all triplets of the sentence."""
        index = 0
        last = -1
        while index < len(self.words):
            if self.tag(index) in ("ing", "verb", "part"):
                last, index = index, self.verb(index, last)
            else:
                if self.tag(index) == "be":
                    self.copula(index)
                index += 1
        self.relate()
        for chunk in self.chunks:
            if not chunk.negated:
                self.attributes += [Triplet(chunk.noun, "is", adjective, "attribute") for adjective in chunk.adjectives]

    def verb(self, at: int, last: int) -> int:
        """Adds the triplets of the verb at `at`; returns where to read on."""
        passive = self.passive(at)
        subjects = self.subjects(at, last)
        self.acting = subjects or self.acting
        action = self.form(at, passive)
        after = at + 1
        while self.tag(after) == "to" and self.tag(after + 1) == "verb":  # trying to catch
            action, at, after = f"{action} to {self.text(after + 1)}", after + 1, after + 2
        while self.tag(after) in ("adv", "not") or (self.text(after) in english.PARTICLES and self._free(after)):
            if self.text(after) in english.PARTICLES:
                action = f"{action} {self.text(after)}"
            after += 1
        negated = any(self.tag(before) == "not" for before in range(max(last, at - 3, 0), at + 1))
        preposition = self.text(after) if self.tag(after) in ("prep", "to") else ""
        found = self.starts.get(after + 1 if preposition else after)
        if preposition == "by" and passive and found is not None and found.head in english.ANIMATE:
            if not negated:
                verb, *rest = action.split()
                base = english.base_of(verb)
                self.act(self.joined(found), " ".join((english.gerund(base) if base else verb, *rest)), subjects)
            return found.end
        if found is None:
            if not negated:
                self.act(subjects, action, [])
            return after
        objects = self.joined(found)
        self.objects.update(chunk.start for chunk in objects)
        if not negated:
            self.act(subjects, f"{action} {preposition}".strip(), objects)
        return objects[-1].end if objects else after

    def _free(self, index: int) -> bool:
        """Says whether a particle is no preposition here: no noun chunk follows."""
        return index + 1 not in self.starts

    def form(self, at: int, passive: bool) -> str:
        """Returns the verb in its -ing form, or as written in a passive."""
        text = self.text(at)
        base = english.base_of(text)
        if self.tag(at) == "ing" or passive or base is None:
            return text
        return english.gerund(base)

    def passive(self, at: int) -> bool:
        """Says whether a past form is a participle that something is done with."""
        if self.tag(at) != "part":
            return False
        before = at - 1
        while self.tag(before) in ("adv", "not"):
            before -= 1
        if self.text(before) in ("has", "have", "had"):
            return False
        if self.tag(before) == "be" or self.text(before) in ("gets", "getting", "got", "get", "being"):
            return True
        if self.text(at + 1) == "by":
            return True
        base = english.base_of(self.text(at))
        if self.text(at) in english.IRREGULAR and self.text(at) not in english.PARTICIPLES:
            return False
        return (base is None or base not in english.STILL) and self.tag(at + 1) in ("prep", "to", "stop", "adv")

    def subjects(self, at: int, last: int) -> list[Chunk]:
        """Returns who does the verb at `at`; `last` is where the verb before stands."""
        before = at - 1
        while self.tag(before) in ("be", "aux", "adv", "not") or self.text(before) == "being":
            before -= 1
        helped = self.ends.get(before) if self.tag(before) == "to" else None
        if helped is not None and helped.start in self.objects and helped.head in english.ANIMATE:
            return [helped]
        if self.tag(before) in ("conj", "stop", "to") and self.acting and self.text(before) not in ("while", "as"):
            return self.acting
        if self.text(before) in ("while", "as") and self.acting:
            return self.acting
        if self.tag(before) == "pron":
            return self.meant(before)
        between = [chunk for chunk in self.chunks if last < chunk.start and chunk.end <= at]
        if not between:
            return self.acting
        if self.tag(before) == "rel":
            return [between[-1]]
        boundary = max((i for i in range(max(last, 0), at) if self.tag(i) in ("conj", "stop")), default=-1)
        fresh = [
            chunk
            for chunk in between
            if chunk.start > boundary and not chunk.governed and chunk.start not in self.objects
        ]
        if fresh and self.tag(at) != "ing":
            return self.with_joined(fresh[0], between)
        if self.tag(at) == "ing" or self.tag(at) == "part":
            nearest = between[-1]
            bare = self.tag(at - 1) not in ("be", "aux")
            if bare and nearest.governed and nearest.head in english.ANIMATE and nearest.governed not in WORN:
                return [nearest]
            if fresh:
                return self.with_joined(fresh[0], between)
            if bare and nearest.head in english.ANIMATE:
                return [nearest]
        if self.acting:
            return self.acting
        first = next((chunk for chunk in between if not chunk.governed), between[-1])
        if first.noun in WRAPPERS:
            first = next((chunk for chunk in between if chunk.noun not in WRAPPERS), first)
        return self.with_joined(first, between)

    def meant(self, at: int) -> list[Chunk]:
        """Returns the noun a pronoun stands for when only one can be meant."""
        candidates = [chunk for chunk in self.chunks if chunk.end <= at and chunk.head in english.ANIMATE]
        if not candidates and self.context is not None:
            return [self.context]
        return candidates if len({chunk.noun for chunk in candidates}) == 1 else []

    def with_joined(self, chunk: Chunk, between: list[Chunk]) -> list[Chunk]:
        """Returns `a man` and `a woman` for `a man and a woman ...`: chunks joined by `and` around one chunk."""
        found = [chunk]
        while (joint := self.joint(found[-1])) is not None and joint in between:
            found.append(joint)
        while (first := self.ends.get(found[0].start - 1)) is not None and self.text(
            found[0].start - 1
        ) in english.JOINING:
            if first.governed or first.start in self.objects:
                break
            found.insert(0, first)
        return [chunk for chunk in found if not chunk.negated]

    def joint(self, chunk: Chunk) -> Chunk | None:
        """Returns the chunk after `and`, or after a comma in a list that ends with `and`."""
        after = chunk.end
        if self.text(after) in english.JOINING:
            return self.starts.get(after + 1)
        if self.text(after) == "," and self.text(after + 1) in english.JOINING:
            return self.starts.get(after + 2)
        following = self.starts.get(after + 1) if self.text(after) == "," else None
        return following if following is not None and self.joint(following) is not None else None

    def joined(self, chunk: Chunk) -> list[Chunk]:
        """Returns the objects a verb takes: a chunk, and those joined to it that are no subject of their own."""
        found = [chunk]
        while (joint := self.joint(found[-1])) is not None:
            acts = self.tag(joint.end) in ("be", "aux", "verb", "ing", "part", "rel")
            if acts and (joint.head in english.ANIMATE or self.tag(joint.end) == "be"):
                break
            found.append(joint)
        return [chunk for chunk in found if not chunk.negated]

    def act(self, subjects: list[Chunk], action: str, objects: list[Chunk]) -> None:
        """Adds a triplet for each subject and object."""
        for subject in subjects:
            if objects:
                self.actions += [Triplet(subject.noun, action, chunk.noun) for chunk in objects if chunk is not subject]
            else:
                self.actions.append(Triplet(subject.noun, action))

    def copula(self, at: int) -> None:
        """Adds `the dog is brown` and `the dog is on the grass`."""
        chunk = self.ends.get(at - 1 if self.tag(at - 1) == "rel" else at)
        after = at + 1
        if chunk is None or self.tag(after) == "not":
            return
        if chunk.governed and self.main is not None and self.main.end <= chunk.start and not self.actions:
            chunk = self.main
        while self.tag(after) == "adv":
            after += 1
        if self.tag(after) == "adj" and self.tag(after + 1) not in ("noun", "adj"):
            self.attributes.append(Triplet(chunk.noun, "is", self.text(after), "attribute"))
        elif (
            self.tag(after) == "prep" and (place := self.starts.get(after + 1)) and self.text(after) not in NO_RELATION
        ):
            self.relations.append(Triplet(chunk.noun, self.text(after), place.noun))

    def relate(self) -> None:
        """Adds (noun, preposition, noun) where one chunk follows another behind a preposition."""
        bearer: Chunk | None = None
        for chunk in self.chunks:
            before = self.ends.get(chunk.start - 1)
            if self.text(chunk.start - 1) in english.JOINING:
                before = bearer  # in a hat and shoes
            if not chunk.governed or before is None:
                bearer = None if not chunk.governed else bearer
                continue
            if before.governed in WORN and bearer is not None and before.head not in english.ANIMATE:
                before = bearer
            dressed = chunk.governed in WORN and chunk.head in english.CLOTHING and before.head not in english.ANIMATE
            if dressed and self.main is not None and self.main.head in english.ANIMATE:
                before = self.main
            bearer = before
            if chunk.governed in NO_RELATION or chunk.negated or before.negated or before.noun in WRAPPERS:
                continue
            if chunk.governed in english.LOCATIVE or chunk.governed not in english.PREPOSITIONS:
                self.relations.append(Triplet(before.noun, chunk.governed, chunk.noun))


def _chunks(words: list[Word]) -> list[Chunk]:
    """Returns the noun chunks: determiners, numbers, adjectives, then nouns; `a group of people` is one."""
    found: list[Chunk] = []
    index = 0
    while index < len(words):
        end = index
        while end < len(words) and words[end].tag in ("det", "num", "adj", "noun"):
            if words[end].tag in ("det", "num") and end > index and words[end - 1].tag == "noun":
                break
            end += 1
            if (
                words[end - 1].tag == "adj"
                and end + 1 < len(words)
                and words[end].text in ("and", ",")
                and words[end + 1].tag == "adj"
            ):
                end += 1  # black and white dog
        nouns = [word.text for word in words[index:end] if word.tag == "noun"]
        numbers = [word.text for word in words[index:end] if word.tag == "num"]
        if not nouns and not (numbers and end > index):
            index = max(end, index + 1)
            continue
        start = index
        group = nouns[-1] in english.OF_GROUP if nouns else False
        if group and end < len(words) and words[end].text == "of":
            inner = _chunks(words[end + 1 :])
            if inner and inner[0].start == 0:
                chunk = inner[0]
                end += 1 + chunk.end
                nouns, adjectives = chunk.noun.split(), chunk.adjectives
                found.append(_chunk(words, start, end, nouns, adjectives, found[-1] if found else None))
                index = end
                continue
        if nouns:
            adjectives = tuple(word.text for word in words[index:end] if word.tag == "adj")
            found.append(_chunk(words, start, end, nouns, adjectives, found[-1] if found else None))
        index = end
    return found


def _chunk(
    words: list[Word], start: int, end: int, nouns: list[str], adjectives: tuple[str, ...], joined: Chunk | None
) -> Chunk:
    before = words[start - 1] if start else Word("", "stop")
    governed = before.text if before.tag in ("prep", "to") else ""
    if (
        joined is not None
        and before.text in english.JOINING
        and joined.end == start - 1
        and nouns[-1] not in english.ANIMATE
    ):
        governed = joined.governed
    return Chunk(
        start,
        end,
        " ".join(nouns[-3:]),
        nouns[-1],
        adjectives,
        governed=governed,
        negated=words[start].text in ("no", "neither", "nor") or before.tag == "not",
    )
