"""CLIP's own byte-pair encoding, from the vocabulary that a wheel on the package index carries."""

from __future__ import annotations

import functools
import gzip
import zipfile
from collections.abc import Callable

from crosscue.wheels import Wheel, fetch_wheel

OPEN_CLIP = Wheel("open-clip-torch", "3.3.0", "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce")


@functools.cache
def clip_token_count() -> Callable[[str], int]:
    """Counts tokens without start and end."""
    from transformers import CLIPTokenizer

    with zipfile.ZipFile(fetch_wheel(OPEN_CLIP)) as wheel:
        packed = wheel.read("open_clip/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = _byte_letters()
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: index for index, token in enumerate(vocabulary)}, merges=merges)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _byte_letters() -> list[str]:
    """The 256 printable characters that stand for bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [256 + index for index in range(256 - len(printable))]
    return [chr(code) for code in (*printable, *others)]
