"""A small text with the statistics of language, and the lines of a model."""

import random

import pytest


@pytest.fixture(scope="session")
def sentences():
    """300 lines of 2 to 11 words, with their places; some words are frequent, and some pairs."""
    rng = random.Random(0)
    lines = []
    for number in range(300):
        word, words = 0, []
        for _ in range(int(2 + 10 * rng.random())):
            word = int(500 * rng.random() ** 5) if rng.random() < 0.6 else (7 * word + int(3 * rng.random())) % 90
            words.append(f"w{word}")
        lines.append((f"text:{number}", " ".join(words).encode()))
    return lines


@pytest.fixture(scope="session")
def rows():
    """`rows(model)`: {words: (log10 p, log10 back-off)} of all its n-grams."""

    def rows(model):
        return {
            tuple(model.vocabulary[at] for at in ids): (float(prob), float(backoff))
            for n, level in enumerate(model.orders, 1)
            for ids, prob, backoff in zip(model.ngram_ids(n), level.log10_probs, level.log10_backoffs, strict=True)
        }

    return rows
