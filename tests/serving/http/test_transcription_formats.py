"""OpenAI's formats of transcripts that need no server."""

import pytest

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.inference.segments import segment_words
from jasper_tf.inference.transcript import Transcript
from jasper_tf.serving.http.openai.transcription_formats import verbose_values


@pytest.mark.parametrize("kind", ["unigram", "wpe"])
def test_a_text_with_the_mark_of_the_unknown_has_tokens(piece_tokenizers, kind):
    tokenizer = piece_tokenizers[kind]
    words = (WordTiming("seven", 0.0, 0.4, 0.9), WordTiming("\u2047", 0.5, 0.6, 0.3))
    transcript = Transcript("seven \u2047 ", 0.9, words, segment_words(words), 1.0)
    [segment] = verbose_values(transcript, tokenizer, "en", 0.0, words=True, segments=True)["segments"]
    assert tokenizer.decode(segment["tokens"]).startswith("seven")
