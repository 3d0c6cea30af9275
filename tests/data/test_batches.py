"""Batches, few-shot samples, held-out pairs."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscue.data.batches import Batches
from crosscue.data.fewshot import few_shot, few_shot_validation, split_off
from crosscue.data.neighbours import nearest
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import DataError


def pair(
    number: int, captions: tuple[str, ...] | None = None, image_id: str | None = None, category: str | None = None
) -> Pair:
    texts = captions if captions is not None else (f"caption {number}",)
    return Pair(ImageFile(Path(f"{number}.jpg")), texts, image_id or str(number), category)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3), st.integers(0, 4)), min_size=4, max_size=40),
    st.integers(2, 12),
    st.integers(0, 5),
)
def test_no_batch_holds_an_image_twice(rows: list[tuple[int, int, int]], size: int, epoch: int) -> None:
    pairs = Pairs(
        pair(i, tuple(f"text {text} {n}" for n in range(count)), f"image {image}")
        for i, (image, count, text) in enumerate(rows)
    )
    if len({p.image_id for p in pairs}) < 2:
        with pytest.raises(DataError):
            Batches(pairs, size, 1)
        return
    batches = Batches(pairs, size, seed=1)
    seen: Counter[str] = Counter()
    for step in range(len(batches)):
        ids = [pairs[index].image_id for index, _ in batches.step(epoch, step)]
        assert len(ids) == len(set(ids)) >= 2
        seen.update(ids)
    assert max(seen.values()) == 1
    assert len(seen) >= len({p.image_id for p in pairs}) - 1


def test_equal_captions_are_kept_apart() -> None:
    pairs = Pairs(pair(i, (f"text {i % 8}",)) for i in range(16))
    batches = Batches(pairs, 8, seed=3)
    for step in range(2):
        captions = [pairs[index].captions[number] for index, number in batches.step(0, step)]
        assert len(set(captions)) == 8


def test_every_caption_has_its_turn_and_steps_are_reproducible() -> None:
    pairs = Pairs(pair(i, tuple(f"{i} {n}" for n in range(5))) for i in range(6))
    drawn = {(i, n) for epoch in range(5) for step in range(2) for i, n in Batches(pairs, 3, 1).step(epoch, step)}
    assert len(drawn) == 30
    jumped = Batches(pairs, 3, 1)
    walked = Batches(pairs, 3, 1)
    for epoch in range(4):
        for step in range(2):
            last = walked.step(epoch, step)
    assert jumped.step(3, 1) == last
    assert Batches(pairs, 3, 2).step(3, 1) != last


def test_few_shot_draws_per_category_whatever_the_order() -> None:
    pairs = Pairs(pair(i, category="abc"[i % 3] if i < 30 else "rare") for i in range(32))
    sample = few_shot(pairs, 4, seed=1)
    assert Counter(p.category for p in sample) == {"a": 4, "b": 4, "c": 4, "rare": 2}
    backwards = few_shot(Pairs(reversed(pairs.items)), 4, seed=1)
    assert {p.image_id for p in backwards} == {p.image_id for p in sample}
    assert {p.image_id for p in few_shot(pairs, 4, seed=2)} != {p.image_id for p in sample}
    for shots, kept in ((1, 1), (2, 2), (16, 4)):
        assert Counter(p.category for p in few_shot_validation(pairs, shots, 1)).most_common(1)[0][1] == kept


def test_an_image_with_several_pairs_does_not_exceed_the_shots() -> None:
    pairs = Pairs(
        Pair(pair(i).image, (f"caption {i} {n}",), str(i), category="ab"[i % 2]) for i in range(8) for n in range(3)
    )
    sample = few_shot(pairs, 5, seed=1)
    assert Counter(p.category for p in sample) == {"a": 5, "b": 5}
    assert {p.captions for p in few_shot(Pairs(pairs.items[::-1]), 5, seed=1)} == {p.captions for p in sample}


def test_few_shot_draws_other_places_in_every_category() -> None:
    pairs = Pairs(pair(i, image_id=f"{category} {i:02}", category=category) for category in "ab" for i in range(40))
    drawn = {category: {p.image_id[2:] for p in few_shot(pairs, 8, 1) if p.category == category} for category in "ab"}
    assert drawn["a"] != drawn["b"]


def test_few_shot_without_categories_says_so() -> None:
    with pytest.raises(DataError, match="no category"):
        few_shot(Pairs([pair(1), pair(2)]), 1, 1)


def test_held_out_pairs_share_no_image_with_the_rest() -> None:
    pairs = Pairs(pair(i, image_id=f"image {i // 2}", category="ab"[i // 2 % 2]) for i in range(80))
    rest, held = split_off(pairs, 0.25, seed=1)
    assert not {p.image_id for p in rest} & {p.image_id for p in held}
    assert len({p.image_id for p in held}) == 10
    assert Counter(p.category for p in held) == {"a": 10, "b": 10}
    assert {p.image_id for p in held} != {p.image_id for p in split_off(pairs, 0.25, seed=2)[1]}
    with pytest.raises(DataError, match="validation share"):
        split_off(pairs, 1.5, 1)
    with pytest.raises(DataError, match="cannot be split"):
        split_off(Pairs(pairs.items[:4]), 0.1, 1)


def test_small_categories_are_not_held_out_whole() -> None:
    pairs = Pairs(pair(i, category="a" if i < 20 else str(i)) for i in range(22))
    _, held = split_off(pairs, 0.1, seed=1)
    assert [p.category for p in held] == ["a", "a"]


def test_companions_share_a_batch_and_every_image_is_still_drawn_once() -> None:
    pairs = Pairs(pair(i) for i in range(24))
    near = np.array([[j for j in range(24) if j // 4 == i // 4 and j != i] for i in range(24)])  # six groups of four
    batches = Batches(pairs, 8, 1, companions=3, near=near)
    drawn = [[index for index, _ in batches.step(epoch, step)] for epoch in range(2) for step in range(3)]
    for batch in drawn:
        assert sorted(Counter(index // 4 for index in batch).values()) == [4, 4]
    assert sorted(index for batch in drawn[:3] for index in batch) == list(range(24))
    assert drawn[:3] != drawn[3:]
    assert drawn == [
        [index for index, _ in Batches(pairs, 8, 1, companions=3, near=near).step(epoch, step)]
        for epoch in range(2)
        for step in range(3)
    ]
    some = Batches(pairs, 8, 1, companions=1, near=near)
    assert sorted(index for step in range(3) for index, _ in some.step(0, step)) == list(range(24))


def test_nearest_images_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=-1)
    captions = torch.nn.functional.normalize(torch.randn(14, 5, generator=generator), dim=-1)
    owner = torch.arange(7).repeat_interleave(2)
    means = [torch.nn.functional.normalize(captions[owner == i].sum(0), dim=0) for i in range(7)]
    for i, found in enumerate(nearest(images, captions, owner, 3).tolist()):
        confusion = {j: float(images[i] @ means[j] + images[j] @ means[i]) for j in range(7) if j != i}
        assert found == sorted(confusion, key=lambda j: -confusion[j])[:3]


def plain_batches(drawn: list[tuple[int, str]], size: int, length: int) -> list[list[int]]:
    """The rule of batches, one scan of everything that waits for each batch."""
    batches: list[list[int]] = []
    waiting = drawn
    while waiting and len(batches) < length:
        batch, used, left = list[int](), set[str](), list[tuple[int, str]]()
        for index, caption in waiting:
            if len(batch) < size and caption not in used:
                batch.append(index)
                used.add(caption)
            else:
                left.append((index, caption))
        while len(batch) < min(size, len(waiting)):
            batch.append(left.pop(0)[0])
        batches.append(batch)
        waiting = left
    return batches


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(2, 12), st.integers(0, 3))
def test_batches_follow_their_rule_in_one_pass(texts: list[int], size: int, epoch: int) -> None:
    pairs = Pairs(pair(number, (f"text {text}",)) for number, text in enumerate(texts))
    batches = Batches(pairs, size, 1)
    order = np.random.default_rng((1, epoch)).permutation(len(pairs)).tolist()
    expected = plain_batches([(index, pairs[index].captions[0]) for index in order], batches.batch_size, len(batches))
    assert [[index for index, _ in batches.step(epoch, step)] for step in range(len(batches))] == expected


@pytest.mark.parametrize("texts", [40_000, 1, 2_000])
def test_the_order_of_40_000_images_takes_less_than_a_second(texts: int) -> None:
    pairs = Pairs(pair(number, (f"text {number % texts}",)) for number in range(40_000))
    batches = Batches(pairs, 32, 1)
    start = time.process_time()
    for step in range(len(batches)):
        batches.step(0, step)
    assert time.process_time() - start < 1
