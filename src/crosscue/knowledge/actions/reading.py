"""From a tagged sentence to triplets: each verb, who does it and to what; relations between chunks; attributes."""

from __future__ import annotations

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.chunks import Chunk, noun_chunks
from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.actions.tagging import Word

WORN = frozenset(["in", "with"])
"""Prepositions of clothes."""


class Reading:
    """One sentence on its way to triplets."""

    def __init__(self, words: list[Word], context: Chunk | None) -> None:
        self.words, self.context = words, context
        self.chunks = noun_chunks(words)
        self.starts = {chunk.start: chunk for chunk in self.chunks}
        self.ends = {chunk.end: chunk for chunk in self.chunks}
        self.actions: list[Triplet] = []
        self.relations: list[Triplet] = []
        self.attributes: list[Triplet] = []
        self.main = next(
            (chunk for chunk in self.chunks if not chunk.governed and chunk.noun not in english.WRAPPERS), None
        )
        self.objects: set[int] = set()
        """Where chunks start that a verb has taken as its object."""
        self.acting: list[Chunk] = []
        """Who did the last verb."""

    def tag(self, index: int) -> str:
        """Returns the class of a word; beyond both ends of the sentence is a stop."""
        return self.words[index].tag if 0 <= index < len(self.words) else "stop"

    def text(self, index: int) -> str:
        """Returns a word, empty beyond both ends of the sentence."""
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
        if objects and not negated:
            self.act(subjects, f"{action} {preposition}".strip(), objects)
        return objects[-1].end if objects else found.end

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
        if self.tag(before) in ("conj", "stop", "to") and self.acting:
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
        if first.noun in english.WRAPPERS:
            first = next((chunk for chunk in between if chunk.noun not in english.WRAPPERS), first)
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
            self.tag(after) == "prep"
            and (place := self.starts.get(after + 1))
            and self.text(after) not in english.NO_RELATION
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
            if (
                chunk.governed in english.NO_RELATION
                or chunk.negated
                or before.negated
                or before.noun in english.WRAPPERS
            ):
                continue
            if chunk.governed in english.LOCATIVE or chunk.governed not in english.PREPOSITIONS:
                self.relations.append(Triplet(before.noun, chunk.governed, chunk.noun))
