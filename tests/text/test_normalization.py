"""TextNormalizer and SpokenNumbers: what is said, a record of each change, and the same when done twice."""

import pickle
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jasper_tf.errors import UserError
from jasper_tf.text.normalization import TextNormalizer
from jasper_tf.text.spoken_numbers import SpokenNumbers

# Characters that the steps know, beside any other.
TEXTS = st.text(
    st.one_of(st.sampled_from("aZéßİı019.,:'\"-–—’“”&%$€½²⁄<>[] \u00a0\u00ad\u0301\u200d"), st.characters())
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, World!", "hello world"),
        ("“Don’t”, she said — twice…", "don't she said twice"),
        ("'Quoted words' and the boys' own, 'tis", "quoted words and the boys' own 'tis"),
        ("well-known e-mail", "well known e mail"),
        ("ﬁne Ｆｕｌｌ e\u0301", "fine full é"),
        ("soft\u00adhyphen \u200bzero\ufeff", "softhyphen zero"),
        ("[laughter] oh <unk> yes", "oh yes"),
        ("rock & roll @ home, 5% + 20°", "rock and roll at home five percent plus twenty degrees"),
        ("tab\tand\nline  end ", "tab and line end"),
        ("ok 👍 ™", "ok tm"),
        ("In 1984, 2001 and 2024", "in nineteen eighty four two thousand and one and twenty twenty four"),
        ("the 1990s, the '80s and the 1900s", "the nineteen nineties the eighties and the nineteen hundreds"),
        ("1,234,567 people", "one million two hundred and thirty four thousand five hundred and sixty seven people"),
        ("1st 2nd 3rd 21st 100th", "first second third twenty first one hundredth"),
        ("3.14 0.50 2.0", "three point one four zero point five zero two point zero"),
        ("-5 and 10-12", "minus five and ten twelve"),
        ("$5.50, £1, $3 million, €2.00", "five dollars fifty cents one pound three million dollars two euro"),
        ("10:30 9:05 8:00", "ten thirty nine oh five eight o'clock"),
        ("½ cup, 2½, 3⁄4, 10²", "one half cup two and one half three quarters ten two"),
        ("agent 007, mp3", "agent zero zero seven mp three"),
        ("1" * 16, " ".join(["one"] * 16)),
    ],
)
def test_english(text, said):
    assert TextNormalizer()(text).text == said


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("de", "1900: 1.004,50 € & 3,14", "neunzehnhundert eintausendvier euro fünfzig cent und drei komma eins vier"),
        ("fr", "le 1er, 3,5 % de 1\u202f204", "le premier trois virgule cinq pour cent de mille deux cent quatre"),
        ("es", "20 + 1", "veinte más uno"),
        ("sv-SE", "21", "tjugoett"),
        ("pt_BR", "16", "dezesseis"),
        ("tr", "Iğdır İzmir", "ığdır izmir"),
    ],
)
def test_other_languages(language, text, said):
    assert TextNormalizer(language)(text).text == said


def test_a_language_that_is_not_there():
    with pytest.raises(UserError, match="--language xx: numbers can be spelled out in am, ar, .*--keep-numbers"):
        TextNormalizer("xx")
    assert TextNormalizer("xx", keep_numbers=True)("A 1").text == "a 1"


def test_what_may_be_kept():
    text = "Café №5: “3.14”, naïve!"
    assert TextNormalizer(case="keep")(text).text == "Café No five three point one four naïve"
    assert TextNormalizer(case="upper", keep_numbers=True)(text).text == "CAFÉ NO5 3.14 NAÏVE"
    assert TextNormalizer(keep_punctuation=True)("“Hi” – 21!").text == '"hi" - twenty-one!'
    assert TextNormalizer(strip_accents=True)(text).text == "cafe no five three point one four naive"
    assert TextNormalizer(strip_accents=True, labels="é")(text).text == "café no five three point one four naive"
    assert (
        TextNormalizer(labels="abcdefghijklmnopqrstuvwxyz ,.'-")("Well-known, OK? 'Yes'.").text
        == "well-known, ok yes ."
    )


def test_every_change_is_recorded_with_its_kind():
    normalized = TextNormalizer()("Tea “2” go, please")
    assert [kind for kind, _, _ in normalized.changes] == [
        "quotes and dashes",
        "numbers",
        "case",
        "punctuation",
        "spaces",
    ]
    before = "Tea “2” go, please"
    for _, old, new in normalized.changes:
        assert old == before != new
        before = new
    assert before == normalized.text == "tea two go please"
    assert TextNormalizer()("nothing to do").changes == ()


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(["en", "de", "fr", "tr", "ja"]), st.booleans(), st.booleans())
@example("''\u0301a'", "en", False, False)
@example("<<a>b>", "en", True, True)
@example("1⁄2 ¼", "en", True, False)
@example("가", "en", False, True)
def test_twice_is_once(text, language, keep_punctuation, strip_accents):
    normalizer = TextNormalizer(language, keep_punctuation=keep_punctuation, strip_accents=strip_accents)
    once = normalizer(text).text
    assert normalizer(once).text == once and normalizer(once).changes == ()


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_what_comes_out_is_letters_marks_spaces_and_apostrophes(text):
    out = TextNormalizer()(text).text
    assert unicodedata.normalize("NFKC", out) == out == " ".join(out.split()) == out.lower()
    for c in out:
        category = unicodedata.category(c)
        # Numbers of scripts without digits (Roman, cuneiform) and unassigned characters are the user's to judge.
        assert c in " '\u200c\u200d" or category[0] in "LM" or category in ("Nl", "No", "Cn", "Co"), (c, category)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**15 - 1))
def test_every_whole_number_can_be_said(number):
    said = SpokenNumbers("en")(f"so {number} it is")
    assert not any(c.isdigit() for c in said)
    assert said.startswith("so ") and said.endswith(" it is")
    # Thousands separators say the same, but for the years.
    if not 1100 <= number < 2100:
        assert SpokenNumbers("en")(f"so {number:,} it is") == said


@pytest.mark.parametrize("case", ["lower", "upper", "keep"])
def test_a_worker_process_normalizes_the_same(case):
    normalizer = TextNormalizer("en", case=case, strip_accents=True, labels=frozenset("abc"))
    text = "Naïve  Words, 12 of them & a <noise>"
    assert pickle.loads(pickle.dumps(normalizer))(text) == normalizer(text)
