"""Negatives without the defects of released ones: ten thousand random captions, and the names that are hard."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from crosscue.commands import data_negatives
from crosscue.data.harder_categories import nearest_names, same_meta
from crosscue.data.negatives import NegativesConfig, NegativeWriter, plain, with_negatives
from crosscue.data.pairs import Pairs
from crosscue.data.wording import article, key, mentions, replaced
from crosscue.errors import DataError
from tests import tiny
from tests.data.random_pairs import CLASSES, pair, random_pairs


@pytest.mark.slow
def test_ten_thousand_random_captions_have_no_defect() -> None:
    pairs = random_pairs(10_000)
    done, report = with_negatives(pairs, NegativeWriter(pairs))
    positives = {plain(caption) for caption in pairs.captions}
    defects: Counter[str] = Counter()
    for one in done:
        own, texts = key(one.category or ""), [plain(negative.text) for negative in one.negatives]
        defects["repeated"] += len(set(texts)) < len(texts)
        for negative in one.negatives:
            text = plain(negative.text)
            defects["identical"] += text == plain(one.captions[0])
            defects["equals a caption"] += text in positives
            if negative.type == "category":
                defects["true class left in"] += f" {plain(own)} " in f" {text} "
                defects["class not put in"] += plain(negative.by or "") not in text
                others = (word for word in one.captions[0].split() if "plane" in word.lower() and own != "plane")
                defects["broken word"] += any(word not in negative.text.split() for word in others if own != "airplane")
            else:
                defects["class changed"] += len(mentions(negative.text, [own])) != len(mentions(one.captions[0], [own]))
            for match in ("a", "an"):
                words = negative.text.split()
                defects["article"] += sum(
                    first.lower() == match
                    and article(second) != match
                    and plain(second) in plain(negative.by or "").split()[:1]
                    for first, second in itertools.pairwise(words)
                )
    assert not {name: count for name, count in defects.items() if count}
    assert report.counts["category"] > 15_000
    assert report.counts["attribute"] > 13_000
    assert len(report.fewer) == sum(len(one.negatives) < 4 for one in done)


def test_a_category_is_exchanged_for_one_of_its_nearest_names() -> None:
    pairs = random_pairs(300)
    torch.manual_seed(0)
    embeddings = normalize(torch.randn(len(pairs.categories), 8), dim=-1)
    near = nearest_names(pairs.categories, embeddings)
    for row, name in enumerate(pairs.categories):
        by_score = sorted(
            (other for other in range(len(pairs.categories)) if other != row),
            key=lambda other: -float(embeddings[row] @ embeddings[other]),
        )
        assert near[key(name)] == [key(pairs.categories[other]) for other in by_score[:5]]
    done, _ = with_negatives(pairs, NegativeWriter(pairs, NegativesConfig(category=2, attribute=0), exchanges=near))
    exchanges = [
        (key(one.category), key(negative.by or "")) for one in done if one.category for negative in one.negatives
    ]
    assert len({own for own, _ in exchanges}) > 10
    assert all(other in near[own] for own, other in exchanges)
    assert max(len({other for own, other in exchanges if own == key(name)}) for name in pairs.categories) > 2


def test_meta_categories_limit_the_exchange() -> None:
    names = ("owl", "bear", "rose", "plane")
    pairs = Pairs([pair(f"a {name}, image {row}", name) for row, name in enumerate(names)], source="four")
    groups = {"animal": ["owl", "bear"], "other": ["rose"], "vehicle": ["plane"]}
    same = same_meta(pairs.categories, groups, "groups.yaml")
    done, report = with_negatives(pairs, NegativeWriter(pairs, NegativesConfig(2, 0), exchanges=same))
    assert [[negative.text for negative in one.negatives] for one in done] == [
        ["a bear, image 0"],
        ["an owl, image 1"],
        [],
        [],
    ]
    assert len(report.fewer) == 4
    with pytest.raises(DataError, match=r"1 categories have no meta-category: plane. Add each to a list"):
        same_meta(pairs.categories, {"animal": ["owl", "bear"], "other": ["rose"]}, "groups.yaml")


@pytest.mark.parametrize("kind", ["nearest", "meta"])
def test_the_command_writes_harder_categories(kind: str, tmp_path: Path) -> None:
    rows = [
        {"image": f"{name}.jpg", "caption": f"the {name} of {name.title()}ville", "category": name}
        for name in ("owl", "bear", "rose")
    ]
    source, groups, out = (tmp_path / name for name in ("pairs.jsonl", "groups.yaml", "out.jsonl"))
    for row in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / row["image"])
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    groups.write_text("animal: [owl, bear]\nplant: [rose]\n")
    given = [str(source), "--out", str(out), "--attribute", "0", "--category", "1", "--categories", kind]
    ways = {"nearest": ["--names_of", str(tiny.clip_folder())], "meta": ["--meta", str(groups)]}
    assert data_negatives.run([*given, *ways[kind]]) == 0
    written = [json.loads(line) for line in out.read_text().splitlines()]
    found = [[negative["to"] for negative in row.get("negatives", [])] for row in written]
    assert found == [["bear"], ["owl"], []] if kind == "meta" else all(len(row) == 1 for row in found)
    if kind == "meta":
        groups.write_text("animal: [owl")
        with pytest.raises(DataError, match=r"groups.yaml: .*Write one list a line"):
            data_negatives.run([*given, *ways[kind]])
        with pytest.raises(DataError, match=r"crosscue data negatives SOURCE --categories meta --meta FILE.yaml --out"):
            data_negatives.run(given)


@pytest.mark.parametrize(
    ("caption", "category", "other", "expected"),
    [
        (
            "A rose. The roses smell, unlike a desert-rose.",
            "rose",
            "owl",
            "An owl. The owls smell, unlike a desert-rose.",
        ),
        ("This is a Mexican aster.", "mexican aster", "umbrella", "This is an umbrella."),
        ("an F-16A/B on an airplane carrier", "F-16A/B", "Yak-42", "a Yak-42 on an airplane carrier"),
        ("An airplane, not a plane.", "plane", "rose", "An airplane, not a rose."),
        ("orange dahlia and orange_dahlia", "orange_dahlia", "egyptian mau", "Egyptian mau and egyptian mau"),
        ("prose about a rose", "rose", "ice cream", "prose about an ice cream"),
    ],
)
def test_every_mention_gives_way_as_a_whole(caption: str, category: str, other: str, expected: str) -> None:
    names = {key(name) for name in CLASSES}
    own = [mention for mention in mentions(caption, names) if mention.name == key(category)]
    assert replaced(caption, own, other) == expected


def test_names_that_hold_each_other_are_never_exchanged() -> None:
    pairs = Pairs([pair("a rose", "rose"), pair("a desert-rose", "desert-rose", 1), pair("an owl", "owl", 2)])
    done, report = with_negatives(pairs, NegativeWriter(pairs))
    assert [negative.text for negative in done[0].negatives] == []
    assert plain("an owl") in {plain(caption) for caption in pairs.captions}, (
        "the only other class is a caption already"
    )
    assert report.fewer == ["0", "1", "2"]
    longer = Pairs([pair("a rose in a red pot", "rose"), pair("x", "desert-rose", 1), pair("y", "owl", 2)])
    done, _ = with_negatives(longer, NegativeWriter(longer, NegativesConfig(category=4)))
    assert [n.text for n in done[0].negatives if n.type == "category"] == ["an owl in a red pot"]


def test_attributes_change_one_thing_and_never_a_class_name() -> None:
    pairs = Pairs([pair("A brown bear sitting behind a small red house.", "brown bear"), pair("z", "bear", 1)])
    writer = NegativeWriter(pairs, NegativesConfig(category=0, attribute=50))
    made = writer.write(pairs[0])
    assert {negative.replaced for negative in made} == {"sitting", "behind", "small", "red"}
    assert all(negative.text.startswith("A brown bear ") for negative in made)
    assert "A brown bear sitting in front of a small red house." in {negative.text for negative in made}
    assert not any("scarlet" in negative.text or "tiny" in negative.text for negative in made), "no synonyms"
    assert all(negative.by not in ("sits", "bear") for negative in made)


def test_a_colour_never_meets_itself() -> None:
    pairs = Pairs([pair("a red and white owl", "owl"), pair("z", "rose", 1)])
    made = NegativeWriter(pairs, NegativesConfig(category=0, attribute=50)).write(pairs[0])
    assert len(made) > 10
    assert not any(negative.by in ("red", "white") for negative in made)


def test_the_limit_of_length() -> None:
    pairs = Pairs([pair("an owl in a red tree", "owl"), pair("z", "egyptian mau", 1), pair("z", "bear", 2)])

    def words(text: str) -> int:
        return len(text.split())

    short = NegativeWriter(pairs, NegativesConfig(attribute=0, category=5), token_count=words, max_tokens=6)
    assert [negative.by for negative in short.write(pairs[0])] == ["bear"]


def test_a_source_that_cannot_have_negatives_says_why() -> None:
    with pytest.raises(DataError, match=r"no pair has a category.*Add a column 'category'"):
        NegativeWriter(Pairs([pair("a", None)], "mine.csv"))
    with pytest.raises(DataError, match="'owl' is the only category"):
        NegativeWriter(Pairs([pair("a", "owl")], "mine.csv"))


def test_the_same_negatives_in_every_process() -> None:
    code = (
        "from tests.data.random_pairs import random_pairs; from crosscue.data.negatives import *;"
        "p = random_pairs(50); print(with_negatives(p, NegativeWriter(p))[0].fingerprint())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
