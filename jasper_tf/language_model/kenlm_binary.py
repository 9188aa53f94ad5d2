"""Reads the n-grams out of a binary file of KenLM's `build_binary trie`."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from jasper_tf.errors import UserError, shorten
from jasper_tf.language_model.ngram_model import (
    END,
    MOST_ORDERS,
    START,
    UNKNOWN,
    NGramModel,
    NGrams,
    find_ngrams,
    trie_keys,
)

MAGIC = b"mmap lm http://kheafield.com/code "
_VERSION = MAGIC + b"format version 5\n"
_KINDS = (
    "probing hash tables",
    "probing hash tables with rest costs",
    "trie",
    "trie with quantization",
    "trie with compressed pointers",
    "trie with quantization and compressed pointers",
)
_TRIE = 2
_HEAD = 88
"""Bytes of the magic and the test values."""
_FIXED = struct.Struct("<Bxxxfi?xxxI")
_AT_ONCE = 1 << 18


def is_kenlm_binary(path: str | Path) -> bool:
    """Whether the file begins as KenLM's binary files do; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def read_kenlm_trie(path: str | Path) -> NGramModel:
    """Reads a `trie` file without quantization and pointer compression.

    The other kinds hold hashes or rounded values in place of the n-grams.

    Raises:
        UserError: it is of another kind, has no vocabulary, is cut or damaged.
    """
    name = shorten(path)
    damaged = UserError(f"{name}: cut or damaged KenLM file; build it again")
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot read this language model ({error})") from None
    if len(data) < _HEAD + _FIXED.size or bytes(data[: len(_VERSION)]) != _VERSION:
        raise UserError(f"{name}: an unfinished KenLM file or one of another version; give the ARPA file")
    order, _, kind, has_vocabulary, _ = _FIXED.unpack(bytes(data[_HEAD : _HEAD + _FIXED.size]))
    if kind != _TRIE:
        known = _KINDS[kind] if 0 <= kind < len(_KINDS) else f"kind {kind}"
        detail = (
            f"KenLM's {known} cannot be turned back into n-grams; give the ARPA file, or `build_binary trie`'s output"
        )
        raise UserError(f"{name}: {detail}")
    if not has_vocabulary:
        raise UserError(f"{name}: has no words, only their hashes; build it with the vocabulary, or give the ARPA file")
    at = _HEAD + _FIXED.size
    if not 2 <= order <= MOST_ORDERS or len(data) < at + 8 * order:
        raise damaged
    counts = [int(count) for count in np.frombuffer(bytes(data[at : at + 8 * order]), "<u8")]
    at = -(-(at + 8 * order) // 8) * 8 + 8 + 8 * counts[0]
    # No n-gram takes less than 4 bytes; larger counts would overflow below.
    if sum(counts) > len(data) or at + 16 * (counts[0] + 2) > len(data):
        raise damaged

    size = counts[0]
    unigrams = np.frombuffer(data, np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("next", "<u8")]), size + 1, at)
    at += 16 * (size + 2)
    vocabulary_at = at
    for n in range(2, order + 1):
        vocabulary_at += ((1 + counts[n - 1]) * _entry_bits(counts, n) + 7) // 8 + 8
    words = bytes(data[vocabulary_at:]).split(b"\0")[:-1]
    try:
        vocabulary = [word.decode() for word in words]
    except UnicodeDecodeError:
        raise damaged from None
    if len(vocabulary) != size or len({UNKNOWN, START, END}.intersection(vocabulary)) < 3:
        raise damaged

    # An entry of length n has the index of its last n - 1 words and its first word.
    orders = [
        NGrams(
            np.zeros(size, np.int32),
            np.arange(size, dtype=np.int32),
            unigrams["prob"][:size].copy(),
            unigrams["backoff"][:size].copy(),
        )
    ]
    ids = np.arange(size, dtype=np.int32)[:, None]
    keys = [trie_keys(orders[0].prefixes, orders[0].words, size)]
    starts = unigrams["next"].astype(np.int64)
    for n in range(2, order + 1):
        count, bits, word_bits = counts[n - 1], _entry_bits(counts, n), size.bit_length()
        if starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 0).any():
            raise damaged
        suffixes = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        first = _read_bits(data, at, count, bits, 0, word_bits)
        probs = (_read_bits(data, at, count, bits, word_bits, 31) | 1 << 31).astype(np.uint32).view(np.float32)
        backoffs = np.zeros(count, np.float32)
        if n < order:
            backoffs = _read_bits(data, at, count, bits, word_bits + 31, 32).astype(np.uint32).view(np.float32)
            starts = _read_bits(data, at, count + 1, bits, word_bits + 63, counts[n].bit_length()).astype(np.int64)
        if not ((probs <= 0) & np.isfinite(probs) & np.isfinite(backoffs) & (first < size)).all():
            raise damaged
        ids = np.concatenate([first.astype(np.int32)[:, None], ids[suffixes]], axis=1)
        at += ((1 + count) * bits + 7) // 8 + 8
        prefixes = ids[:, 0]
        for column in range(1, n - 1):
            prefixes = find_ngrams(keys[column], prefixes, ids[:, column], size)
        key = trie_keys(prefixes, ids[:, -1], size)
        by_key = np.argsort(key, kind="stable")
        key = key[by_key]
        if count and (prefixes.min() < 0 or (key[1:] == key[:-1]).any()):
            raise damaged
        keys.append(key)
        orders.append(NGrams(prefixes[by_key], ids[by_key, -1], probs[by_key], backoffs[by_key]))
    return NGramModel(vocabulary, orders)


def _entry_bits(counts: list[int], n: int) -> int:
    """Bits of an n-gram: its word, log10 p without the sign, back-off and where the longer ones begin."""
    longest = n == len(counts)
    return counts[0].bit_length() + 31 + (0 if longest else 32 + counts[n].bit_length())


def _read_bits(data: np.ndarray, start: int, count: int, stride: int, offset: int, bits: int) -> np.ndarray:
    """`bits` (at most 57) bits of each of `count` records of `stride` bits, from bit `offset`: [count] uint64."""
    found = np.empty(count, np.uint64)
    # A number that begins at any byte; the file is longer than the records by at least 8 bytes.
    numbers: np.ndarray = np.ndarray((len(data) - 7 - start,), "<u8", data, start, (1,))
    for at in range(0, count, _AT_ONCE):
        first_bits = np.arange(at, min(at + _AT_ONCE, count), dtype=np.int64) * stride + offset
        values = numbers[first_bits >> 3] >> (first_bits & 7).astype(np.uint64)
        found[at : at + len(values)] = values & np.uint64((1 << bits) - 1)
    return found
