"""What is known about the actions in a caption, and the file that keeps it for all captions of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from crosscue.errors import DataError
from crosscue.knowledge.jsonl import fingerprint_of, read_lines, write_lines

Kind = Literal["action", "attribute"]
FILE = "actions.jsonl"
"""Name of the file in an output folder."""


@dataclass(frozen=True, slots=True)
class Triplet:
    """Who does what to what, or what something is like."""

    subject: str
    action: str
    """A verb with its preposition (`jumping in`), a preposition (`with`), or `is`."""
    object: str = ""
    """Empty where the verb takes none."""
    kind: Kind = "action"
    """`attribute` says what something is like: (shirt, is, blue)."""


@dataclass(frozen=True, slots=True)
class CaptionKnowledge:
    """The triplets of one caption, the most salient first, and how each looks."""

    triplets: tuple[Triplet, ...] = ()
    states: tuple[str, ...] = ()
    """One a triplet: the visible pose, motion, contact or consequence."""
    source: str = "null"
    """Who wrote it: a model's name, `spacy`, `rules`; `<model>+rules` after a fallback; `null` where nothing is known."""

    @property
    def actions(self) -> tuple[Triplet, ...]:
        """The triplets that are no attributes."""
        return tuple(triplet for triplet in self.triplets if triplet.kind == "action")


class ActionKnowledge(Mapping[str, CaptionKnowledge]):
    """Caption text -> what is known about it. Knowledge is a function of the text alone, so no picture can leak into it."""

    def __init__(self, known: Mapping[str, CaptionKnowledge]) -> None:
        self.known = dict(known)

    def __getitem__(self, caption: str) -> CaptionKnowledge:
        return self.known[caption]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    @classmethod
    def load(cls, path: Path | str) -> ActionKnowledge:
        """Reads a file that `save` wrote, or the `actions.jsonl` of a folder.

        Raises:
            DataError: it cannot be read, or a line is not of the form that `save` writes.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        return cls(dict(_from_row(where, row) for where, row in read_lines(file)))

    def save(self, path: Path | str) -> None:
        """Writes one JSON object a caption, atomically."""
        write_lines(Path(path), self._rows())

    def fingerprint(self) -> str:
        """Returns a SHA-256 over all captions and what is known about them."""
        return fingerprint_of(self._rows())

    def require(self, captions: Iterable[str]) -> None:
        """Does nothing when every caption is here; a caption with `null` knowledge is here.

        Raises:
            DataError: some are not; the message says how many, and the command that makes it.
        """
        wanted = dict.fromkeys(captions)
        missing = [caption for caption in wanted if caption not in self.known]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(wanted):,} captions have no action knowledge, e.g. {missing[0][:60]!r}. Make it: "
                "crosscue describe triplets SOURCE --out FILE.jsonl (--backend rules needs no model)."
            )

    def _rows(self) -> Iterator[dict[str, Any]]:
        for caption, knowledge in self.known.items():
            triplets = [{"s": t.subject, "a": t.action, "o": t.object, "kind": t.kind} for t in knowledge.triplets]
            yield {
                "caption": caption,
                "triplets": triplets,
                "states": list(knowledge.states),
                "source": knowledge.source,
            }


def _from_row(where: str, row: Mapping[str, Any]) -> tuple[str, CaptionKnowledge]:
    try:
        triplets = tuple(Triplet(str(t["s"]), str(t["a"]), str(t["o"]), t["kind"]) for t in row["triplets"])
        caption, states = row["caption"], tuple(map(str, row["states"]))
        knowledge = CaptionKnowledge(triplets, states, str(row["source"]))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{where}: needs caption, triplets (each with s, a, o, kind), states and source; {error} is wrong. Make the file "
            "again with crosscue describe triplets."
        ) from error
    if not isinstance(caption, str) or any(triplet.kind not in get_args(Kind) for triplet in triplets):
        raise DataError(f"{where}: the caption must be text and a kind one of {', '.join(get_args(Kind))}.")
    if len(triplets) != len(states):
        raise DataError(
            f"{where}: {len(triplets)} triplets and {len(states)} states; there must be one state a triplet."
        )
    return caption, knowledge
