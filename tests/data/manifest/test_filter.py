import itertools

import numpy as np
import pytest

from jasper_tf.data.manifest.filter import ctc_frames_needed, select
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

TOKENIZER = CharacterTokenizer(list(" abcdefghijklmnopqrstuvwxyz'"))


def utterances(*pairs):
    return [
        Utterance(f"/a/{n}.wav", 0.0, duration_s, text, f"m.json:{n}")
        for n, (duration_s, text) in enumerate(pairs, start=1)
    ]


def test_durations_at_the_bounds_stay():
    given = utterances((0.9, "a"), (1.0, "b"), (2.0, "c"), (2.1, "d"), (3.0, "e"))
    selection = select(given, TOKENIZER, min_duration_s=1.0, max_duration_s=2.0)
    assert [u.text for u in selection.utterances] == ["b", "c"]
    assert [(u.text, reason) for u, reason in selection.dropped] == [
        ("a", "shorter than min_duration 1 s"),
        ("d", "longer than max_duration 2 s"),
        ("e", "longer than max_duration 2 s"),
    ]


def test_unknown_characters_are_an_error_that_lists_them():
    given = utterances((1, "abc"), (1, "caf\u00e9 \u00e9"), (1, "x-ray"), (1, "\u00e9"))
    with pytest.raises(UserError) as raised:
        select(given, TOKENIZER)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(
        "2 characters outside labels: '\u00e9' U+00E9 3 times, as in 'caf\u00e9 \u00e9' (m.json:2)"
    )
    assert "'-' U+002D once, as in 'x-ray' (m.json:3)" in message
    assert "set unknown_characters to drop_utterance or remove_character" in message


def test_upper_case_is_recognized():
    with pytest.raises(UserError, match="write the texts in lower case"):
        select(utterances((1, "YES")), TOKENIZER)


def test_drop_utterance():
    given = utterances((1800, "abc"), (3600, "a-b"), (1, "-1-"))
    selection = select(given, TOKENIZER, unknown_characters="drop_utterance")
    assert [u.text for u in selection.utterances] == ["abc"]
    assert {reason for _, reason in selection.dropped} == {"characters outside labels"}
    summary = selection.summary()
    assert "kept 1 of 3 utterances, 0.50 h" in summary
    assert "dropped 2, 1.00 h: characters outside labels" in summary
    assert "'-' U+002D 3 times, as in 'a-b' (m.json:2)" in summary
    assert "'1' U+0031 once, as in '-1-' (m.json:3)" in summary


def test_remove_character_leaves_single_spaces():
    given = utterances((1, "a - b-c"), (1, "d  e"))
    selection = select(given, TOKENIZER, unknown_characters="remove_character")
    assert [u.text for u in selection.utterances] == ["a bc", "d  e"]
    assert not selection.dropped and selection.utterances[0].source == "m.json:1"
    assert "characters outside labels, removed:\n  '-' U+002D 2 times" in selection.summary()


def test_a_character_that_only_some_words_can_hold():
    """Each text has its own: what one cannot write stays in the others, and no text is asked for all characters."""
    tokenizer = WordPieceTokenizer(["[UNK]", "a", "c", "##a", "##b", "##c"])
    given = utterances((1, "ab"), (1, "b a"), (1, "bba ca"), (1, "cab"))
    selection = select(given, tokenizer, unknown_characters="drop_utterance")
    assert [u.text for u in selection.utterances] == ["ab", "cab"]
    assert selection.utterances.label_len.tolist() == [2, 3]
    with pytest.raises(UserError, match=r"1 character outside labels: 'b' U\+0062 3 times, as in 'b a'"):
        select(given, tokenizer)
    selection = select(given, tokenizer, unknown_characters="remove_character", output_frames=lambda s: 0 * s + 3)
    assert [u.text for u in selection.utterances] == ["ab", "a", "a ca", "cab"]
    assert selection.utterances.label_len.tolist() == [2, 1, 3, 3]


def test_what_is_left_of_a_text_can_be_written():
    """Without its first character a word of WordPiece begins with the next, which has a piece within words only."""
    tokenizer = WordPieceTokenizer(["[UNK]", "a", "##a", "a##b", "##b"])
    selection = select(utterances((1, "xba a")), tokenizer, unknown_characters="remove_character")
    assert [u.text for u in selection.utterances] == ["a a"]


def test_too_long_utterances_do_not_count_characters():
    selection = select(utterances((9, "a-b"), (1, "a")), TOKENIZER, max_duration_s=5)
    assert len(selection.utterances) == 1 and not selection.unknown_characters


def test_unknown_setting():
    with pytest.raises(UserError, match="'skip' is none of error, drop_utterance, remove_character"):
        select(utterances((1, "a")), TOKENIZER, unknown_characters="skip")


def test_ctc_needs_a_frame_per_label_and_per_repeat():
    """Against the definition: the shortest of all paths over {a, b, blank} that collapses to the labels."""
    for length in range(5):
        for labels in itertools.product([0, 1], repeat=length):
            shortest = next(
                frames
                for frames in itertools.count()
                if any(
                    tuple(k for k, _ in itertools.groupby(path) if k != 2) == labels
                    for path in itertools.product([0, 1, 2], repeat=frames)
                )
            )
            assert ctc_frames_needed(np.array(labels, np.int32)) == shortest


def test_utterances_that_ctc_cannot_align_are_named():
    given = utterances((0.08, "abcd"), (0.08, "aabc"), (0.06, "abcd"), (0.02, ""))
    selection = select(given, TOKENIZER, output_frames=lambda duration_s: np.rint(duration_s / 0.02).astype(int))
    assert [u.text for u in selection.utterances] == ["abcd", ""]
    assert [u.source for u, _ in selection.dropped] == ["m.json:2", "m.json:3"]
    summary = selection.summary()
    assert "dropped 2, 0.00 h: too short for its text (CTC)" in summary
    assert "  m.json:2 /a/2.wav: 0.08 s give 4 frames, its text needs 5" in summary
    assert "  m.json:3 /a/3.wav: 0.06 s give 3 frames, its text needs 4" in summary


def test_feasibility_looks_at_the_text_after_removal():
    given = utterances((0.08, "ab--cd"))
    selection = select(
        given,
        TOKENIZER,
        unknown_characters="remove_character",
        output_frames=lambda duration_s: np.full(len(duration_s), 4),
    )
    assert [u.text for u in selection.utterances] == ["abcd"]


def test_summary_names_twenty_and_counts_the_rest():
    given = utterances((1, "a"), *[(0.02, "too long")] * 25)
    summary = select(given, TOKENIZER, output_frames=lambda duration_s: (duration_s * 50).astype(int)).summary()
    assert "dropped 25" in summary and "m.json:21 " in summary
    assert "m.json:22 " not in summary and "and 5 more" in summary


def test_nothing_left_is_an_error_with_the_reasons():
    with pytest.raises(UserError, match="no utterance is left.*dropped 2, 0.00 h: longer than max_duration 5 s"):
        select(utterances((9, "a"), (8, "b")), TOKENIZER, max_duration_s=5)
