"""A user's mistake is one line that steers no terminal, whatever text it is made of."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.errors import DivergedError, UserError, printable


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_one_line_that_can_be_encoded(text):
    message = str(UserError(f"{text}: no such file"))
    assert len(message.splitlines()) == 1
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in message)
    assert message.encode("utf-8")
    assert printable(message) == message


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\udc80", "\u202eevil", "\x9b31m", "c\u2028d"])
def test_what_is_escaped_can_be_read_as_json(text):
    assert text not in printable(text)
    assert json.loads(f'"{printable(text)}"') == text


@pytest.mark.parametrize("text", ["über, 日本語", "می\u200cخواهم", "👩\u200d💻", "a\\b"])
def test_text_of_any_language_stays(text):
    assert printable(text) == text


def test_of_a_very_long_message_the_ends_stay():
    message = str(UserError("\n" * 100_000 + "; copy it again"))
    assert message.startswith("\\n") and message.endswith("; copy it again") and len(message) < 1100


def test_subclasses_and_copies():
    error = pickle.loads(pickle.dumps(DivergedError("step\n7")))
    assert type(error) is DivergedError and str(error) == "step\\n7" and error.exit_status == 1
