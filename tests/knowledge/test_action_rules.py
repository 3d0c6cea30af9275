"""Triplets and states without a model: golden captions, other languages, the same bytes in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crosscue.errors import CrosscueError
from crosscue.knowledge.actions import english, parser
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.parser import load_parser, parsed_knowledge
from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.actions.rules import caption_knowledge, rules_knowledge, rules_triplets
from crosscue.knowledge.actions.states import TEMPLATES, state_class, template_state
from crosscue.knowledge.actions.validation import state_problem, triplet_problem
from tests.knowledge.bpe import clip_token_count
from tests.knowledge.golden_captions import FOREIGN, GOLDEN


def expected(text: str) -> set[Triplet]:
    found = set()
    for part in filter(None, map(str.strip, text.split(";"))):
        subject, action, thing = (slot.strip() for slot in part.removeprefix("*").split(","))
        found.add(Triplet(subject, action, thing, "attribute" if part.startswith("*") else "action"))
    return found


@pytest.mark.parametrize(("caption", "triplets"), GOLDEN, ids=[caption for caption, _ in GOLDEN])
def test_golden_captions(caption: str, triplets: str) -> None:
    found = rules_triplets(caption)
    assert set(found) == expected(triplets)
    assert len(found) == len(set(found))
    kinds = [triplet.kind for triplet in found]
    assert kinds == sorted(kinds), "actions come before attributes"


def test_what_rules_write_passes_the_checks_of_what_models_write() -> None:
    for caption, _ in GOLDEN:
        known = caption_knowledge(caption)
        assert len(known.states) == len(known.triplets)
        assert [triplet_problem(triplet, caption) for triplet in known.triplets] == [""] * len(known.triplets)
        assert [state_problem(state) for state in known.states] == [""] * len(known.states)


@pytest.mark.parametrize("caption", FOREIGN)
def test_other_languages_are_null_not_english(caption: str) -> None:
    assert not is_english(caption)
    assert caption_knowledge(caption).source == "null"


def test_nothing_in_nothing() -> None:
    for caption in ("", "   ", "12345", "!!!", "...", "a", "🙂", "x" * 5000, "a " * 3000):
        known = caption_knowledge(caption)
        assert (known.triplets, known.states, known.source) == ((), (), "null"), caption[:20]


def test_a_long_caption_gets_eight_triplets() -> None:
    caption = " and ".join(f"a {animal} eats an apple" for animal in sorted(english.ANIMALS)[:20])
    assert len(rules_triplets(caption)) == 8


def test_the_same_bytes_in_every_process() -> None:
    code = (
        "import sys; from crosscue.knowledge.actions.rules import rules_knowledge; "
        "from tests.knowledge.golden_captions import GOLDEN; "
        "known = rules_knowledge(c for c, _ in GOLDEN); "
        "sys.stdout.write(repr(list(known.items())) + known.fingerprint())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(outputs) == 1
    assert rules_knowledge(caption for caption, _ in GOLDEN).fingerprint() in outputs.pop()


def test_every_class_of_verbs_has_a_sentence_and_every_sentence_its_length() -> None:
    classes = {*english.VERBS} - {"being"}
    assert classes <= set(TEMPLATES)
    shortest = Triplet("x", "y")
    longest = Triplet(*("extraordinarily well built red brick house",) * 3)
    for sentence in (sentence for sentences in TEMPLATES.values() for sentence in sentences):
        for triplet, article in ((shortest, ""), (longest, "the ")):
            text = sentence.format(s=triplet.subject, a=triplet.action, o=article + triplet.object)
            assert not state_problem(" ".join(text.split())), text


@pytest.mark.parametrize(
    ("triplet", "name"),
    [
        (Triplet("dog", "running on", "beach"), "locomotion"),
        (Triplet("dog", "run"), "locomotion"),
        (Triplet("boy", "sat on", "wall"), "posture"),
        (Triplet("boy", "eating", "apple"), "ingestion"),
        (Triplet("boy", "in front of", "house"), "relation"),
        (Triplet("boy", "is", "tall", "attribute"), "attribute"),
        (Triplet("boy", "discombobulating", "robot"), "other"),
    ],
)
def test_states_follow_the_verb(triplet: Triplet, name: str) -> None:
    assert state_class(triplet) == name
    state = template_state(triplet)
    assert state == template_state(triplet)
    assert triplet.subject in state and triplet.object in state
    assert "run," not in state, "base forms become -ing forms"


@pytest.mark.network
def test_a_state_never_pushes_its_triplet_out_of_77_tokens() -> None:
    count = clip_token_count()
    texts = [caption for caption, _ in GOLDEN]
    triplets = [triplet for text in texts for triplet in rules_triplets(text)]
    triplets.append(
        Triplet(
            "very old weathered narrow wooden boat",
            "is slowly being pulled along behind",
            "an other long flat grey barge",
        )
    )
    for triplet in triplets:
        head = f"Fine-grained state description of action triplet <{triplet.subject}, {triplet.action}, {triplet.object}> is"
        assert count(head) < 75 and count(f"{head} {template_state(triplet)}") <= 75, triplet


@pytest.mark.parametrize(
    ("base", "form"),
    [("run", "running"), ("ride", "riding"), ("lie", "lying"), ("see", "seeing"), ("open", "opening"), ("play", "playing"),
     ("begin", "beginning"), ("look", "looking"), ("ski", "skiing"), ("tow", "towing"), ("fix", "fixing"), ("wait", "waiting")],
)  # fmt: skip
def test_ing_forms(base: str, form: str) -> None:
    assert english.gerund(base) == form
    assert english.base_of(form) == base or base not in english.all_verbs()


class TestParser:
    """spaCy's parse of the same captions; looser, for a statistical model makes mistakes."""

    @pytest.fixture(scope="class", autouse=True)
    def installed(self) -> None:
        try:
            load_parser()
        except CrosscueError as error:
            pytest.skip(str(error))

    def test_most_of_the_golden_triplets(self) -> None:
        found = dict(parsed_knowledge([caption for caption, _ in GOLDEN]))
        wanted = {(caption, triplet) for caption, text in GOLDEN for triplet in expected(text)}
        got = {(caption, triplet) for caption, known in found.items() for triplet in known.triplets}
        assert len(wanted & got) >= 0.85 * len(wanted)
        assert len(wanted & got) >= 0.85 * len(got)

    @pytest.mark.parametrize(
        ("caption", "triplets"),
        [
            ("A sheep is chased by two dogs.", "dogs, chasing, sheep"),
            ("A man and a woman are dancing.", "man, dancing,; woman, dancing,"),
            ("A surfer who is wearing a wetsuit rides a wave.", "surfer, wearing, wetsuit; surfer, riding, wave"),
            ("A lamp next to a bed", "lamp, next to, bed"),
            ("A man is not wearing a helmet.", ""),
        ],
    )
    def test_these_it_must_get_right(self, caption: str, triplets: str) -> None:
        ((_, known),) = parsed_knowledge([caption])
        assert set(known.triplets) == expected(triplets)
        assert len(known.states) == len(known.triplets)

    def test_other_languages_are_null(self) -> None:
        assert {known.source for _, known in parsed_knowledge(FOREIGN)} == {"null"}

    def test_order_and_batches_do_not_matter(self) -> None:
        captions = [caption for caption, _ in GOLDEN]
        together = dict(parsed_knowledge(captions))
        assert dict(parsed_knowledge(captions[::-1])) == together


def test_without_the_parser_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    with pytest.raises(CrosscueError, match=r"pip install 'crosscue\[spacy\]', or use --backend rules"):
        load_parser()


def test_rules_and_files_need_no_extra() -> None:
    code = (
        "import sys; import crosscue.knowledge.actions.rules, crosscue.knowledge.actions.audit, crosscue.knowledge.views.record, "
        "crosscue.knowledge.views.from_captions, crosscue.knowledge.actions.parser; "
        "sys.exit(bool({'pydantic', 'openai', 'spacy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
