"""Tokenizers of `transformers` from the files of a checkpoint, checked for words that they do not tell apart."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from crosscue.backbones.weights import AGAIN, quiet
from crosscue.errors import BackboneError

FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("spiece.model",), ("tokenizer.model",))
"""Files of which one group makes a tokenizer."""
PROBES = 50


def pretrained_tokenizer(folder: Path, rows: int) -> Any:
    """Returns the tokenizer of a checkpoint.

    Args:
        folder: folder of the checkpoint.
        rows: number of word embeddings of the text tower.

    Raises:
        BackboneError: its files are missing or unusable, a package is missing, or it does not fit the text tower.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not any(all((folder / name).exists() for name in group) for group in FILES):
        needed = "; ".join(" with ".join(group) for group in FILES)
        raise BackboneError(f"{folder}: no tokenizer. It needs one of: {needed}. {AGAIN}")
    quiet()
    loaders: list[Any] = [AutoTokenizer, *([PreTrainedTokenizerFast] if (folder / "tokenizer.json").exists() else [])]
    faults: list[Exception] = []
    for loader in loaders:  # a class that needs SentencePiece may stand beside a tokenizer.json that needs nothing
        try:
            tokenizer = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            check_vocabulary(tokenizer, folder, rows)
        except BackboneError:
            raise
        except Exception as error:  # as for weights
            faults.append(error)
        else:
            return tokenizer
    reason = next((line.strip() for line in str(faults[-1]).splitlines() if line.strip()), type(faults[-1]).__name__)
    if "sentencepiece" in reason.lower():
        raise BackboneError(
            f"{folder}: its tokenizer needs a package that is not installed: pip install sentencepiece"
        ) from faults[-1]
    raise BackboneError(f"{folder}: its tokenizer cannot be loaded ({reason}). {AGAIN}") from faults[-1]


def check_vocabulary(tokenizer: Any, folder: Path, rows: int) -> None:
    """Raises `BackboneError` for a tokenizer without words, or with ids that the text tower does not have."""
    ids = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in words(tokenizer)}
    if len(ids - {()}) < 2:
        raise BackboneError(
            f"{folder}: the tokenizer does not tell words apart: {len(tokenizer.get_vocab())} tokens, of which "
            f"{len(tokenizer.all_special_tokens)} are special. {AGAIN}"
        )
    if len(tokenizer("a")["input_ids"]) == len(tokenizer("a", add_special_tokens=False)["input_ids"]):
        raise BackboneError(f"{folder}: the tokenizer adds no end token, and the text tower is read at it. {AGAIN}")
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise BackboneError(
            f"{folder}: the tokenizer has ids up to {largest:,}, and the text tower {rows:,} word embeddings. "
            "They belong to different checkpoints."
        )


def words(tokenizer: Any) -> list[str]:
    """Returns some words of the vocabulary as texts."""
    special = set(tokenizer.all_special_tokens)
    plain = (token for token in tokenizer.get_vocab() if token not in special and any(map(str.isalnum, token)))
    texts = (tokenizer.convert_tokens_to_string([token]).strip().removeprefix("##") for token in plain)
    return list(islice(filter(None, texts), PROBES))
