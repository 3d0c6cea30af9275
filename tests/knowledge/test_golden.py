"""From what models say to finished captions, counted by CLIP's real tokenizer, and on the captions of the FDRD release."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crosscue.data.sources import Reading, read_pairs
from crosscue.knowledge.captions.acceptance import Distribution
from crosscue.knowledge.captions.cleaning import cleaned
from crosscue.knowledge.captions.naming import ClassNames, named, names_class
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.captions.rewriting import shortened
from tests.knowledge.bpe import clip_token_count

pytestmark = pytest.mark.network
BUDGET = 71

GOLDEN = [
    (
        "aircraft",
        "A340-300",
        "The image shows an Airplane parked on the runway.The plane is white ,with a red tail",
        "An A340-300 parked on the runway. The plane is white, with a red tail.",
    ),
    (
        "aircraft",
        "MD-11",
        "A MD-11 md-11 takes off. The landing gear is still out.",
        "An MD-11 takes off. The landing gear is still out.",
    ),
    (
        "flowers",
        "orange dahlia",
        "This is a photo of a orange_dahlia.A orange dahlia with many petals blooms in a garden",
        "An orange dahlia. An orange dahlia with many petals blooms in a garden.",
    ),
    (
        "pets",
        "Saint Bernard",
        "In this photo, an english setter dog lies on the grass. The english setter looks up.",
        "A Saint Bernard dog lies on the grass. The Saint Bernard looks up.",
    ),
    (
        "pets",
        "Egyptian Mau",
        "**A** cat with spots sits by a window. " + "It looks at a very green garden with many old trees behind the glass. " * 6,
        "An Egyptian Mau with spots sits by a window."
        + " It looks at a very green garden with many old trees behind the glass." * 4,
    ),
    (
        "cars",
        "Hyundai Elantra Sedan 2007",
        "A silver Hyundai sedan is parked in front of a house.",
        "A silver Hyundai Elantra Sedan 2007 is parked in front of a house.",
    ),
    ("textures", "banded", "Brown and beige lines run across it.", "A photo of a banded. Brown and beige lines run across it."),
]  # fmt: skip


def start(identity: str, caption: str, name: str, domain: str) -> CaptionRecord:
    fields = {"dataset": "d", "image_path": "a.jpg", "image_sha256": "0", "class_name": name, "meta_category": domain}
    return CaptionRecord(id=identity, caption=caption, **fields)


@pytest.mark.parametrize(("domain", "name", "said", "expected"), GOLDEN)
def test_golden(domain: str, name: str, said: str, expected: str) -> None:
    count = clip_token_count()
    classes = [other for kind, other, _, _ in GOLDEN if kind == domain] + (
        ["English Setter"] if domain == "pets" else []
    )
    records = [start(str(n), "", other, domain) for n, other in enumerate(classes)]
    found = shortened(named(cleaned(start("x", said, name, domain)), ClassNames(records)), BUDGET, count)
    assert found.caption == expected
    assert found.n_tokens == count(expected) <= BUDGET


@pytest.mark.shared
def test_the_tokenizer_is_clips(shared: Path) -> None:
    """Lengths of the released pets captions, as they were measured with the original code: 28.1 / 28 / 42 / 53."""
    count = clip_token_count()
    captions = read_pairs(shared / "fdrd" / "pets_test.json").captions
    lengths = Distribution.of([count(caption) for caption in captions])
    assert lengths is not None and len(captions) == 3669
    assert (round(lengths.mean, 1), lengths.median, lengths.p95, lengths.maximum) == (28.1, 28, 42, 53)


@pytest.mark.shared
@pytest.mark.parametrize(("file", "domain"), [("pets_test.json", "pets"), ("plane_test.json", "aircraft")])
def test_released_captions_leave_without_their_known_faults(shared: Path, file: str, domain: str) -> None:
    """Class absent, class doubled, wrong article, no space after a period: gone from every caption of the release."""
    count = clip_token_count()
    split = shared / "splits" / "split_zhou_OxfordPets.json" if domain == "pets" else None
    pairs = read_pairs(shared / "fdrd" / file, reading=Reading(images=shared, split_file=split))
    records = []
    for pair in pairs:
        key = pair.where.rsplit(" record ", 1)[1]  # of aircraft: variant_number, with / written as _
        name = str(pair.category).replace("_", " ") if split else key.rsplit("_", 1)[0].replace("_", "/")
        records.append(start(pair.image_id, pair.captions[0], name, domain))
    names = ClassNames(records)
    absent = sum(not names_class(record) for record in records)
    assert absent == 6 if domain == "pets" else absent > 50
    for record in records:
        found = shortened(named(cleaned(record), names), BUDGET, count)
        name = re.escape(str(record.class_name))
        assert names_class(found) and found.n_tokens <= BUDGET
        assert found.caption.endswith((".", "!", "?", '."', ".”"))
        assert not re.search(rf"(?<![\w-]){name} {name}(?![\w-])", found.caption, re.IGNORECASE), found.caption
        assert not re.search(rf"\ba (?=[AIO]|E(?!u)){name}\b", found.caption), found.caption
        assert not re.search(r"[a-z]\.[A-Z]", found.caption), found.caption
