"""Files of alignments: what they call the parts of words."""

from jasper_tf.inference.alignment.formats import as_json, format_alignment, label_kind
from jasper_tf.inference.alignment.long_alignment import Alignment
from jasper_tf.inference.alignment.text_aligner import AlignedLabel, AlignedWord
from jasper_tf.text.tokenizer import CharacterTokenizer


def test_word_pieces_have_their_name_and_no_space(piece_tokenizers):
    assert label_kind(CharacterTokenizer(" ab")) == "letters"
    assert [label_kind(one) for one in piece_tokenizers.values()] == ["pieces", "pieces"]
    parts = tuple(AlignedLabel(text, at, at + 0.1, 0.9, -0.1) for text, at in ((" se", 0.0), ("ven", 0.2)))
    alignment = Alignment([AlignedWord("seven", 0.0, 0.3, 0.9, -0.1, parts)])
    [word] = as_json(alignment, "pieces")["words"]
    assert "letters" not in word and [one["text"] for one in word["pieces"]] == ["▁se", "ven"]
    _, tokens = format_alignment(alignment, "ctm", "a", 1.0, "pieces")
    assert [line.split(" ")[4] for line in tokens.splitlines()] == ["▁se", "ven"]
    [grid] = format_alignment(alignment, "textgrid", "a", 1.0, "pieces")
    assert 'name = "pieces"' in grid and "characters" not in grid and 'text = "▁se"' in grid
