"""The pairs of a source that training, validation and evaluation use."""

from __future__ import annotations

from crosscue.data.contents import contents
from crosscue.data.fewshot import few_shot, few_shot_validation, split_off
from crosscue.data.pairs import Pairs
from crosscue.errors import DataError
from crosscue.progress import note

HELD_OUT = 0.1
"""Share of the pairs for validation if a source has no splits at all."""


def training_pairs(
    source: Pairs, shots: int | None, validation: float | bool | None, seed: int
) -> tuple[Pairs, Pairs | None]:
    """Returns the pairs of training and those of validation; test pairs are in neither.

    Raises:
        DataError: the source has splits but no `val`, and `validation` is None; or a value is of a wrong type.
    """
    if shots is not None and type(shots) is not int:
        raise DataError(f"shots is {shots!r}; it must be an integer or null.")
    if validation is not None and type(validation) not in (float, bool):
        raise DataError(f"validation is {validation!r}; it must be a share such as 0.1, true, false or null.")
    train = source.split("train") if source.splits else source
    val: Pairs | None
    has_val = "val" in source.splits
    if validation is None and source.splits and not has_val:
        raise DataError(
            f"{source.source}: there is no split 'val' (splits: {', '.join(source.splits)}). Hold out a tenth of the "
            f"training pairs: crosscue adapt --data {source.origin} --validation 0.1 (false: train without validation)"
        )
    share = HELD_OUT if validation is None and not has_val else validation
    if isinstance(share, float) and not isinstance(share, bool):
        train, val = split_off(train, share, seed)
    else:
        val = source.split("val") if has_val and validation is not False else None
    if shots is not None:
        train = few_shot(train, shots, seed)
        val = few_shot_validation(val, shots, seed) if val else None
    return train, val


def held_out(pairs: Pairs, split: str | None = None) -> Pairs:
    """Returns the split of that name; by default `test`, or everything where a source has no splits.

    Raises:
        DataError: no such split; or no split is given and the source has `train` alone.
    """
    if split is None:
        if pairs.splits == ["train"]:
            raise DataError(
                f"{pairs.source}: its only split is 'train', so nothing is held out. Give a source with a split 'test', or "
                f"evaluate the training pairs: crosscue evaluate RUN --data {pairs.origin} --split train"
            )
        return pairs.split("test") if len(pairs.splits) > 1 or pairs.splits == ["test"] else pairs
    return pairs.split(split)


def bank_pairs(source: Pairs, evaluated: Pairs | None) -> Pairs:
    """Returns the training pairs of a bank: the split `train`, or everything where a source has no such split.

    A bank must not contain a query that is evaluated. Such pairs are left out, and a line names their number.

    Raises:
        DataError: no other pairs are left, or the source has a test split alone.
    """
    if source.splits == ["test"]:
        raise DataError(
            f"{source.source}: a bank needs training pairs, and there is only the split test. Name others: --bank SOURCE"
        )
    train = source.split("train") if "train" in source.splits else source
    if evaluated is None:
        return train
    queries = {key for keys in _keys(evaluated) for key in keys}
    fresh = [pair for pair, keys in zip(train, _keys(train), strict=True) if queries.isdisjoint(keys)]
    if not fresh:
        raise DataError(
            f"{source.source}: the bank contains the evaluated queries. Name training pairs: --bank SOURCE, or another --split."
        )
    if len(fresh) == len(train):
        return train
    note(f"the bank leaves out {len(train) - len(fresh):,} of {len(train):,} pairs, which are evaluated")
    return train.part(fresh, "[not evaluated]")


def _keys(pairs: Pairs) -> list[set[object]]:
    """Returns what shows that a pair is one of others: the content of its image, or its id together with the captions."""
    found = contents(pairs.images)
    return [{image, (pair.image_id, pair.captions)} for pair, image in zip(pairs, found, strict=True)]
