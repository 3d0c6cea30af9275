"""`crosscue describe triplets` with a language model on a real socket that makes real models' mistakes."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crosscue.cli import dispatch
from crosscue.knowledge.actions import parser
from crosscue.knowledge.actions.parser import parsed_knowledge
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.knowledge.actions.states import template_states
from crosscue.knowledge.actions.validation import invents, state_problem, triplet_problem, without_pronouns
from tests.knowledge.conftest import Serve
from tests.knowledge.golden_captions import GOLDEN, golden_triplets
from tests.knowledge.server import Received, Scripted, error

CAPTIONS = [caption for caption, _ in GOLDEN][:48]
STATE = "seen from the side in the middle of it, state number {}"
Answer = Callable[[Received, int], Any]


def captions_of(received: Received) -> dict[int, str]:
    """The captions of the last question about captions, by their ids."""
    questions = [turn["content"] for turn in received.body["messages"] if turn["content"].startswith("id 1:")]
    return {int(number): text for number, text in re.findall(r"^id (\d+): (.*)$", questions[-1], re.MULTILINE)}


def wants_states(received: Received) -> bool:
    return "Exactly one description a triplet" in received.body["messages"][0]["content"]


def triplets_reply(captions: dict[int, str], more: tuple[Triplet, ...] = ()) -> dict[str, Any]:
    rows = []
    for number, caption in captions.items():
        written = [*more, *golden_triplets(caption)]
        rows.append(
            {
                "id": number,
                "triplets": [{"s": t.subject, "a": t.action, "o": t.object, "kind": t.kind} for t in written],
            }
        )
    return {"captions": rows}


def states_reply(captions: dict[int, str]) -> dict[str, Any]:
    rows = []
    for number, caption in captions.items():
        count = len(golden_triplets(caption))
        rows.append({"id": number, "states": [{"i": i, "text": STATE.format(i)} for i in range(1, count + 1)]})
    return {"captions": rows}


def good(received: Received, number: int) -> str:
    """Reads the golden captions like a person, and writes states of its own."""
    captions = captions_of(received)
    return json.dumps(states_reply(captions) if wants_states(received) else triplets_reply(captions))


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "pairs.jsonl", CAPTIONS)


def write_source(path: Path, captions: list[str]) -> Path:
    """Pairs whose images do not exist: only their text is read."""
    rows = [json.dumps({"image": f"{n}.jpg", "caption": text}) for n, text in enumerate([*captions, captions[0]])]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def options(source: Path, out: Path, script: Scripted, *more: object) -> list[str]:
    given = [
        "--out",
        out,
        "--backend",
        "openai",
        "--model.base_url",
        script.url,
        "--model.model",
        "m",
        "--model.retries",
        2,
    ]
    return ["describe", "triplets", str(source), *map(str, given), *map(str, more)]


def describe(*arguments: Any) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dispatch(options(*arguments))
    return Done(code, out.getvalue(), err.getvalue())


def made(out: Path) -> ActionKnowledge:
    return ActionKnowledge.load(out)


def expect(captions: list[str], source: str = "m") -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for caption in captions:
        own = golden_triplets(caption)
        states = tuple(STATE.format(i) for i in range(1, len(own) + 1))
        found[caption] = (own, states, source if own else "null")
    return found


def seen(knowledge: ActionKnowledge) -> dict[str, tuple[Any, ...]]:
    return {caption: (known.triplets, known.states, known.source) for caption, known in knowledge.items()}


def test_each_caption_once_in_batches_of_twenty(source: Path, tmp_path: Path, serve: Serve) -> None:
    script = serve(good)
    done = describe(source, tmp_path / "out", script)
    assert done.returncode == 0, done.stderr
    assert seen(made(tmp_path / "out")) == expect(CAPTIONS)
    questions = [captions_of(received) for received in script.log if not wants_states(received)]
    assert sorted(map(len, questions)) == [8, 20, 20]
    assert sorted(text for question in questions for text in question.values()) == sorted(CAPTIONS)
    assert len(script.log) == 6 and all("temperature" in received.body for received in script.log)
    assert "48 of them new, 6 requests" in done.stderr
    assert "nothing was wrong" in done.stdout and "48 captions" in done.stdout
    again = describe(source, tmp_path / "out", script)
    assert again.returncode == 0 and len(script.log) == 6 and "0 of them new" in again.stderr


def test_only_new_captions_are_requested(source: Path, tmp_path: Path, serve: Serve) -> None:
    script = serve(good)
    describe(source, tmp_path / "a.jsonl", script, "--cache", tmp_path / "kept.sqlite")
    sent = len(script.log)
    more = write_source(tmp_path / "more.jsonl", ["A welder repairs a gate.", *CAPTIONS[10:30]])
    describe(more, tmp_path / "b.jsonl", script, "--cache", tmp_path / "kept.sqlite")
    assert [captions_of(question) for question in script.log[sent:]] == [{1: "A welder repairs a gate."}] * 2
    assert list(made(tmp_path / "b.jsonl")) == ["A welder repairs a gate.", *CAPTIONS[10:30]]


def test_no_image_is_ever_sent(source: Path, tmp_path: Path, serve: Serve) -> None:
    script = serve(good)
    describe(source, tmp_path / "out", script)
    assert all(received.images() == [] for received in script.log)


def test_429_and_malformed_json_change_nothing(source: Path, tmp_path: Path, serve: Serve) -> None:
    def answer(received: Received, number: int) -> Any:
        if number == 1:
            return error(429, "slow down", **{"Retry-After": "0.01"})
        return "here you are: {" if number == 3 else good(received, number)

    script = serve(answer)
    done = describe(source, tmp_path / "out", script, "--model.concurrency", 1)
    assert done.returncode == 0, done.stderr
    assert seen(made(tmp_path / "out")) == expect(CAPTIONS)
    assert "1 repetitions" in done.stdout and len(script.log) == 8
    assert sum("cannot be used" in received.question for received in script.log) == 1


def test_a_batch_with_wrong_ids_is_rejected_and_halved(source: Path, tmp_path: Path, serve: Serve) -> None:
    def answer(received: Received, number: int) -> str:
        captions = captions_of(received)
        reply = states_reply(captions) if wants_states(received) else triplets_reply(captions)
        if len(captions) > 5:
            reply["captions"][-1]["id"] = 1  # twice the first, none for the last
        return json.dumps(reply)

    script = serve(answer)
    done = describe(source, tmp_path / "out", script, "--requests.states", "templates")
    assert done.returncode == 0, done.stderr
    assert {
        caption: known.source for caption, known in made(tmp_path / "out").items() if known.triplets
    } == dict.fromkeys((caption for caption in CAPTIONS if golden_triplets(caption)), "m")
    sizes = sorted(len(captions_of(received)) for received in script.log)
    assert sizes == sorted([20, 10, 10, 5, 5, 5, 5] * 2 + [8, 4, 4])
    assert "7 batches rejected" in done.stdout


def test_captions_of_a_model_that_never_gets_ids_right_are_null(source: Path, tmp_path: Path, serve: Serve) -> None:
    script = serve('{"captions": [{"id": 99, "triplets": []}]}')
    done = describe(source, tmp_path / "out", script)
    assert done.returncode == 0
    assert set(made(tmp_path / "out").values()) == {CaptionKnowledge()}
    assert "48 captions left null" in done.stdout and "48 (100.0%) with null knowledge" in done.stdout
    assert done.stdout.endswith("done: 48 captions, 48 of them null\n")


@pytest.mark.parametrize("learns", [True, False])
def test_what_a_caption_does_not_contain_is_requested_again_then_dropped(
    source: Path, tmp_path: Path, serve: Serve, learns: bool
) -> None:
    invented = (Triplet("unicorn", "guarding", "castle"),)

    def answer(received: Received, number: int) -> str:
        if wants_states(received):
            return good(received, number)
        corrected = "'unicorn' is not in the caption" in received.question
        return json.dumps(triplets_reply(captions_of(received), () if corrected and learns else invented))

    script = serve(answer)
    done = describe(source, tmp_path / "out", script)
    assert done.returncode == 0, done.stderr
    known = made(tmp_path / "out")
    assert not any("unicorn" in (t.subject, t.object) for each in known.values() for t in each.triplets)
    said = [received for received in script.log if "unicorn" in received.question]
    assert len(said) == len(CAPTIONS), "one re-ask a caption"
    assert "48 captions requested again" in done.stdout
    assert seen(known) == expect(CAPTIONS)
    assert ("48 triplets dropped" in done.stdout) is not learns


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda states: states[:-1], "exactly one state for each"),
        (lambda states: [{**state, "i": state["i"] + 1} for state in states], "exactly one state for each"),
        (lambda states: [{**state, "text": "it is there"} for state in states], "3 words; write 8 to 30"),
        (lambda states: [{**state, "text": "see https://example.org for how that looks from the side"} for state in states], "no markup"),
        (lambda states: [{**state, "text": "a zebra stands behind all of it and looks on"} for state in states], "'zebra' is not in"),
    ],
)  # fmt: skip
def test_states_that_do_not_fit_come_from_templates(
    tmp_path: Path, serve: Serve, spoil: Callable[[list[Any]], list[Any]], complaint: str
) -> None:
    captions = ["A farmer drives a tractor.", "A lamp next to a bed"]

    def answer(received: Received, number: int) -> str:
        reply = json.loads(good(received, number))
        if wants_states(received):
            for row in reply["captions"]:
                if captions_of(received)[row["id"]] == captions[0]:
                    row["states"] = spoil(row["states"])
        return json.dumps(reply)

    script = serve(answer)
    done = describe(write_source(tmp_path / "p.jsonl", captions), tmp_path / "out", script)
    assert done.returncode == 0, done.stderr
    known = made(tmp_path / "out")
    assert known[captions[0]].states == template_states(known[captions[0]].triplets)
    assert known[captions[0]].source == "m+templates"
    assert known[captions[1]].states == (STATE.format(1),) and known[captions[1]].source == "m"
    assert sum(complaint in received.question for received in script.log) == 1
    assert "1 captions with template states" in done.stdout


def test_a_refusal_leaves_the_captions_null(tmp_path: Path, serve: Serve) -> None:
    def answer(received: Received, number: int) -> str:
        return (
            good(received, number)
            if CAPTIONS[1] in captions_of(received).values()
            else "I'm sorry, but I can't help with that."
        )

    done = describe(
        write_source(tmp_path / "p.jsonl", CAPTIONS[:2]), tmp_path / "out", serve(answer), "--requests.batch", 1
    )
    known = made(tmp_path / "out")
    assert (known[CAPTIONS[0]], known[CAPTIONS[1]].source) == (CaptionKnowledge(), "m")
    assert "1 captions left null" in done.stdout and done.stdout.endswith("done: 2 captions, 1 of them null\n")


def test_a_model_may_read_other_languages(tmp_path: Path, serve: Serve) -> None:
    caption = "Ein Mann reitet auf einem Pferd."

    def answer(received: Received, number: int) -> str:
        if wants_states(received):
            return json.dumps(
                {
                    "captions": [
                        {
                            "id": 1,
                            "states": [{"i": 1, "text": "er sitzt oben, die Beine hängen an beiden Seiten herab"}],
                        }
                    ]
                }
            )
        triplet = {"s": "Mann", "a": "reitet auf", "o": "Pferd", "kind": "action"}
        return json.dumps({"captions": [{"id": 1, "triplets": [triplet]}]})

    describe(write_source(tmp_path / "p.jsonl", [caption]), tmp_path / "out", serve(answer))
    assert made(tmp_path / "out")[caption].triplets == (Triplet("mann", "reitet auf", "pferd"),)
    assert made(tmp_path / "out")[caption].source == "m"


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def test_killed_and_resumed_without_a_repeated_call(source: Path, tmp_path: Path, serve: Serve) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    describe(source, whole, serve(good), "--requests.batch", 5)
    script = serve(good)
    code = "from crosscue.cli import main; main()"
    for answers in (3, 11):
        script.hold_after = answers
        command = options(source, killed, script, "--requests.batch", 5)
        running = subprocess.Popen(
            [sys.executable, "-c", code, *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        until(lambda: len(script.answered()) == script.hold_after)
        time.sleep(0.5)  # the last answers reach the disk
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert not killed.exists()
    script.hold_after = None
    script.release.set()
    assert describe(source, killed, script, "--requests.batch", 5).returncode == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert script.repeated() == []
    assert len(script.answered()) == 20


def test_caps_stop_and_go_on(source: Path, tmp_path: Path, serve: Serve) -> None:
    script = serve(good)
    done = describe(source, tmp_path / "out", script, "--limits.max_calls", 3, "--model.concurrency", 1)
    assert done.returncode == 2 and "stopped before max_calls 3" in done.stderr
    assert len(script.log) == 3 and not (tmp_path / "out" / "actions.jsonl").exists()
    assert describe(source, tmp_path / "out", script, "--limits.max_calls", 6).returncode == 0
    assert len(script.log) == 6
    refused = describe(source, tmp_path / "other", script, "--limits.max_spend", 1)
    assert refused.returncode == 2 and "max_spend needs prices" in refused.stderr


def test_mistakes_are_one_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, message in (
        (["triplets", str(source)], "--out FILE.jsonl"),
        (["triplets", str(source), "--out", str(tmp_path), "--backend", "openai"], "the model has no endpoint"),
        (["triplet", str(source)], "Did you mean 'triplets'"),
        (["triplets", str(source), "--out", str(tmp_path), "--split", "test"], "there is no split 'test'"),
        (["triplets", "nowhere", "--out", str(tmp_path)], "there is no such file"),
    ):
        assert dispatch(["describe", *command]) == 2
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1, said


def test_without_a_backend_spacy_reads(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["describe", "triplets", str(source), "--out", str(tmp_path / "parsed.jsonl")]) == 0
    known = made(tmp_path / "parsed.jsonl")
    assert dict(known) == dict(parsed_knowledge(CAPTIONS))
    null = sum(not each.triplets for each in known.values())
    assert capsys.readouterr().out.endswith(f"done: 48 captions, {null} of them null\n")


def test_without_spacy_nothing_reads_in_its_place(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    parser.load_parser.cache_clear()
    parser.english_words.cache_clear()
    assert dispatch(["describe", "triplets", str(source), "--out", str(tmp_path / "parsed.jsonl")]) == 2
    assert "pip install 'crosscue[spacy]'" in capsys.readouterr().err
    assert not (tmp_path / "parsed.jsonl").exists()


@pytest.mark.parametrize(
    ("triplet", "problem"),
    [
        (Triplet("man", "riding", "horse"), ""),
        (Triplet("men", "ride", "horses"), ""),
        (Triplet("horse", "ridden by", "man"), ""),
        (Triplet("man", "on", "horse"), ""),
        (Triplet("horse", "is", "brown", "attribute"), ""),
        (Triplet("man", "is", "happy", "attribute"), "'happy' is not in the caption"),
        (Triplet("dog", "riding", "horse"), "'dog' is not in the caption"),
        (Triplet("man", "feeding", "horse"), "'feeding' is not in the caption"),
        (Triplet("", "riding", "horse"), "1 to 6 words"),
        (Triplet("man", "riding slowly on top of the old", "horse"), "1 to 6 words"),
        (Triplet("horse", "is", "", "attribute"), "an attribute needs an object"),
        (Triplet("man", "riding", "<horse>"), "plain words only"),
        (Triplet("horse", "riding", "horse"), "one and the same"),
    ],
)
def test_triplets_are_held_against_the_caption(triplet: Triplet, problem: str) -> None:
    found = triplet_problem(triplet, "A man rides a brown horse.")
    assert (problem in found) if problem else not found


def test_two_of_a_kind_may_do_something_to_each_other() -> None:
    assert not triplet_problem(Triplet("man", "hugging", "man"), "A man hugs another man.")


def test_pronouns_stand_for_the_one_noun_they_can() -> None:
    one = (Triplet("man", "standing"), Triplet("he", "waving", "flag"))
    assert without_pronouns(one) == (Triplet("man", "standing"), Triplet("man", "waving", "flag"))
    two = (Triplet("man", "standing"), Triplet("boy", "sitting"), Triplet("he", "waving", "flag"))
    assert without_pronouns(two) == two[:2]


def test_what_a_state_may_say() -> None:
    assert invents("the dog leans towards the ball with open mouth", "A puppy chases a ball.") == "dog"
    assert invents("one paw is lifted, the ball just ahead of it", "A puppy chases a ball.") == ""
    assert state_problem("one two three four five six seven") and not state_problem(
        "one two three four five six seven eight"
    )
    assert state_problem("word " * 31)
