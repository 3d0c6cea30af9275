"""Files of action knowledge: round trips, what is missing, what is damaged, and their audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosscue.cli import dispatch
from crosscue.errors import DataError
from crosscue.knowledge.actions.audit import audited, disagreement
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet

RIDING = CaptionKnowledge((Triplet("man", "riding", "horse"),), ("seated on its back, legs at both sides",), "spacy")
RED = CaptionKnowledge(
    (Triplet("bus", "is", "red", "attribute"),), ("its whole body is painted in this colour",), "m+templates"
)
NEAR = CaptionKnowledge((Triplet("lamp", "near", "bed"),), ("standing close to its side, light falling on it",), "m")
KNOWN = {
    "a man rides a horse": RIDING,
    "a red bus": RED,
    "a lamp near a bed": NEAR,
    "ein Haus\u2028mit Garten": CaptionKnowledge(),
}


def test_round_trip(tmp_path: Path) -> None:
    knowledge = ActionKnowledge(KNOWN)
    knowledge.save(tmp_path / "actions.jsonl")
    for path in (tmp_path, tmp_path / "actions.jsonl"):
        loaded = ActionKnowledge.load(path)
        assert dict(loaded) == KNOWN and list(loaded) == list(KNOWN)
        assert loaded.fingerprint() == knowledge.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["actions.jsonl"]


def test_the_fingerprint_is_of_the_content() -> None:
    shuffled = dict(reversed(KNOWN.items()))
    assert ActionKnowledge(shuffled).fingerprint() == ActionKnowledge(KNOWN).fingerprint()
    changed = {**KNOWN, "a red bus": CaptionKnowledge(RED.triplets, ("another state",), RED.source)}
    assert ActionKnowledge(changed).fingerprint() != ActionKnowledge(KNOWN).fingerprint()


def test_require_counts_and_names_the_command() -> None:
    knowledge = ActionKnowledge(KNOWN)
    knowledge.require(KNOWN)  # null knowledge is knowledge
    with pytest.raises(
        DataError, match=r"2 of 3 captions have no action knowledge, e.g. 'x'.*crosscue describe triplets"
    ):
        knowledge.require(["x", "a red bus", "y", "x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": []}, "line 1: 1 triplets and 0 states"),
        ({"triplets": [{"s": "a", "a": "b"}]}, "line 1: needs caption, triplets .*'o' is wrong"),
        ({"triplets": [{"s": "a", "a": "b", "o": "", "kind": "deed"}]}, "kind one of action, attribute"),
        ({"caption": 3}, "the caption must be text"),
        ({"caption": None}, "the caption must be text"),
        ({"triplets": None}, "needs caption, triplets"),
    ],
)
def test_damaged_lines(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    ActionKnowledge({"a man rides a horse": RIDING}).save(tmp_path / "a.jsonl")
    row = json.loads((tmp_path / "a.jsonl").read_text())
    (tmp_path / "a.jsonl").write_text(json.dumps({**row, **change}))
    with pytest.raises(DataError, match=message):
        ActionKnowledge.load(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "line 1: not valid JSON"), ("[]", "line 1: must be a JSON object")]
)
def test_no_json(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        ActionKnowledge.load(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"nowhere\.jsonl: there is no such file"):
        ActionKnowledge.load(tmp_path / "nowhere.jsonl")


def test_audit_counts() -> None:
    report = audited(KNOWN)
    assert (report.captions, report.with_action, report.with_deed, report.null) == (4, 2, 1, 1)
    assert (report.actions, report.attributes) == (2, 1)
    assert report.coverage == 0.5 and report.fallback_rate == 0.25
    assert report.sources == {"spacy": 1, "m+templates": 1, "m": 1, "null": 1}
    assert audited({}).coverage == 0


def test_disagreement() -> None:
    both = CaptionKnowledge((*RIDING.triplets, Triplet("horse", "is", "brown", "attribute")), ("one", "two"), "spacy")
    other = {"a man rides a horse": both, "a red bus": RED, "a lamp near a bed": CaptionKnowledge(), "new": RIDING}
    found = disagreement(KNOWN, other)
    assert found.captions == 3 and found.equal == 1
    assert found.jaccard == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.most[0] == "a lamp near a bed"
    with pytest.raises(DataError, match="no caption in common"):
        disagreement(KNOWN, {"z": RED})


def test_the_audit_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ActionKnowledge(KNOWN).save(tmp_path / "one.jsonl")
    ActionKnowledge({**KNOWN, "a red bus": CaptionKnowledge()}).save(tmp_path / "two.jsonl")
    command = ["describe", "audit", str(tmp_path / "one.jsonl"), "--against", str(tmp_path / "two.jsonl"), "--json"]
    assert dispatch([*command, str(tmp_path / "counts.json")]) == 0
    said = capsys.readouterr().out
    assert "4 captions, 50.0% with an action triplet (25.0% with a verb), 0.75 triplets a caption" in said
    assert (
        "m+templates: 1 (25.0%)" in said
        and "1 (25.0%) with null knowledge" in said
        and "(man, riding, horse): seated on its back" in said
    )
    assert "4 captions in both: 75.0% with equal triplets, disagreement 0.250" in said
    assert json.loads((tmp_path / "counts.json").read_text())["disagreement"]["equal"] == 3
