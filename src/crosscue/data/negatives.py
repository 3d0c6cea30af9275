"""Edited captions that are wrong for their image: of another category, or wrong in one attribute.

DCAR trains on them (eq. 16-18). A negative teaches a shortcut if it equals a caption, keeps the word it should exchange,
or is bad English. Each is checked, so some captions get fewer.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from crosscue.data.lexicons import LEXICONS, form
from crosscue.data.pairs import Negative, Pair, Pairs
from crosscue.data.wording import Mention, article, key, matched_case, mentions, replaced, within
from crosscue.errors import DataError
from crosscue.progress import progress


@dataclass(frozen=True)
class NegativesConfig:
    """Number and seed of the negatives."""

    category: int = 2
    """Negatives with the name of another category."""
    attribute: int = 2
    """Negatives with the same category and one other colour, size, count, material, pose, position or background."""
    seed: int = 1
    """Seed of the draws; each image has its own, made of this one and the image id."""


@dataclass
class NegativesReport:
    """Counts of the negatives."""

    counts: Counter[str] = field(default_factory=Counter)
    """Negatives by type."""
    fewer: list[str] = field(default_factory=list)
    """Images with fewer negatives than configured."""


class NegativeWriter:
    """Writes the negatives of the captions of one source."""

    def __init__(
        self,
        pairs: Pairs,
        config: NegativesConfig | None = None,
        *,
        token_count: Callable[[str], int] | None = None,
        max_tokens: int = 0,
        exchanges: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Collects the categories and captions of the source.

        Args:
            pairs: all splits; categories are drawn from all of them.
            config: number and seed.
            token_count: counts the tokens of a text; None for no limit.
            max_tokens: the limit.
            exchanges: the categories that each category is exchanged for, by the keys of their names. None: all others.

        Raises:
            DataError: the pairs have no category, or only one.
        """
        self.config, self.exchanges = config or NegativesConfig(), exchanges
        self.token_count, self.max_tokens = token_count, max_tokens
        self.categories = {key(name): name.replace("_", " ") for name in pairs.categories}
        if not self.categories:
            raise DataError(
                f"{pairs.source}: no pair has a category, so none can be exchanged. Add a column 'category', or give each "
                f"category a folder of its own. Look at the source: crosscue data check {pairs.origin}"
            )
        if len(self.categories) < 2 and self.config.category:
            only = next(iter(self.categories.values()))
            raise DataError(
                f"{pairs.source}: '{only}' is the only category, and an exchange needs 2. Write attribute negatives alone: "
                f"crosscue data negatives {pairs.origin} --category 0 --out PAIRS.jsonl"
            )
        self.positives = {plain(caption) for caption in pairs.captions}

    def write(self, pair: Pair) -> tuple[Negative, ...]:
        """Returns the negatives of a pair's first caption, categories first; fewer where no more can be made."""
        if not pair.captions:
            return ()
        caption = pair.captions[0]
        material = f"{self.config.seed}\x1f{pair.image_id}\x1f{caption}".encode()
        chance = random.Random(int.from_bytes(hashlib.sha256(material).digest()[:8], "big"))
        found: list[Negative] = []
        taken = {plain(caption)} | self.positives
        for source, wanted in (
            (self.of_another_category(pair, chance), self.config.category),
            (self.of_another_attribute(pair, chance), self.config.attribute),
        ):
            target = len(found) + wanted
            for negative in source:
                if len(found) == target:
                    break
                if plain(negative.text) not in taken and self.fits(negative.text) and self.keeps(pair, negative):
                    found.append(negative)
                    taken.add(plain(negative.text))
        return tuple(found)

    def of_another_category(self, pair: Pair, chance: random.Random) -> Iterator[Negative]:
        """Yields the caption with every mention of its category exchanged for another one that is allowed, in random order."""
        own = key(pair.category or "")
        places = [m for m in mentions(pair.captions[0], self.categories) if m.name == own] if own else []
        if not places:
            return
        allowed = self.categories if self.exchanges is None else self.exchanges[own]
        others = [name for name in allowed if name not in own and own not in name]
        for other in chance.sample(others, len(others)):
            name = self.categories[other]
            yield Negative(replaced(pair.captions[0], places, name), "category", pair.category, name)

    def of_another_attribute(self, pair: Pair, chance: random.Random) -> Iterator[Negative]:
        """Yields the caption with one describing word exchanged; every word in turn before a word's second exchange."""
        caption = pair.captions[0]
        named = mentions(caption, self.categories)
        options = []
        for groups in LEXICONS.values():
            words = {word: group for group in groups for word in group}
            present = {found.name for found in mentions(caption, words)}
            for place in mentions(caption, words):
                if place.plural or any(place.start < other.end and other.start < place.end for other in named):
                    continue
                own = words[place.name]
                fitting = [
                    word
                    for word, group in words.items()
                    if group != own
                    and word not in self.categories
                    and form(word) == form(place.name)
                    and word not in present
                ]
                options.append((place, chance.sample(fitting, len(fitting))))
        chance.shuffle(options)
        for turn in range(max((len(fitting) for _, fitting in options), default=0)):
            for place, fitting in options:
                if turn < len(fitting):
                    yield Negative(exchanged(caption, place, fitting[turn]), "attribute", place.name, fitting[turn])

    def fits(self, text: str) -> bool:
        """Returns True if a text is within the limit of length."""
        return self.token_count is None or self.token_count(text) <= self.max_tokens

    def keeps(self, pair: Pair, negative: Negative) -> bool:
        """Returns True if the category is gone (type category) or still there as before (type attribute)."""
        own = key(pair.category or "")
        if negative.type == "category":
            return not within(plain(own), plain(negative.text)) and not mentions(negative.text, [own])
        if not own:
            return True
        before, after = (len(mentions(text, [own])) for text in (pair.captions[0], negative.text))
        return before == after


def with_negatives(pairs: Pairs, writer: NegativeWriter) -> tuple[Pairs, NegativesReport]:
    """Returns the pairs with negatives, and their counts. The same pairs and seed give the same negatives."""
    report, made = NegativesReport(), []
    wanted = writer.config.category + writer.config.attribute
    with progress("writing negatives", len(pairs), "captions") as advance:
        for pair in pairs:
            negatives = writer.write(pair)
            report.counts.update(negative.type for negative in negatives)
            if len(negatives) < wanted:
                report.fewer.append(pair.image_id)
            made.append(replace(pair, negatives=negatives))
            advance(1)
    return pairs.part(made), report


def exchanged(caption: str, place: Mention, word: str) -> str:
    """Returns a caption with `word` at one place, the article before it fitting."""
    before, old, after = caption[: place.start], caption[place.start : place.end], caption[place.end :]
    before = re.sub(
        r"(?<![\w-])(an?)(\s+)$",
        lambda match: matched_case(article(word), match.group(1)) + match.group(2),
        before,
        flags=re.IGNORECASE,
    )
    return before + matched_case(word, old) + after


def plain(text: str) -> str:
    """Returns a text without case, punctuation, spacing and underscores."""
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))
