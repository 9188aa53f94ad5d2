"""Times the encoding of a million texts as word pieces.

    python tests/benchmarks/tokenizers.py TEXTS [vocabulary size]

TEXTS has one text a line; they are repeated, and the SentencePiece models are trained on them. The WordPiece
vocabulary is that of the BPE model. Printed are texts a CPU second.
"""

import sys
import tempfile
import time
from pathlib import Path

from jasper_tf.text.read_tokenizer import read_tokenizer
from jasper_tf.text.train_sentencepiece import SentencePieceOptions, train_sentencepiece

BATCH = 10_000
COUNT = 1_000_000


def main(path: str, size: str = "1024") -> None:
    texts = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    tokenizers = {one: train_sentencepiece(texts, SentencePieceOptions(int(size), one)) for one in ("bpe", "unigram")}
    with tempfile.TemporaryDirectory() as folder:
        pieces = (piece for piece in tokenizers["bpe"].vocabulary if piece != "▁")
        lines = ["[UNK]", *(piece[1:] if piece.startswith("▁") else f"##{piece}" for piece in pieces)]
        Path(folder, "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tokenizers["wpe"] = read_tokenizer(folder, "wpe")
    many = (texts * (COUNT // len(texts) + 1))[:COUNT]
    for kind, tokenizer in tokenizers.items():
        begin = time.process_time()
        count = sum(len(row) for i in range(0, COUNT, BATCH) for row in tokenizer.encode_batch(many[i : i + BATCH]))
        rate = COUNT / (time.process_time() - begin)
        print(f"{kind:8} {len(tokenizer):5} pieces {rate:12,.0f} texts/s {count / COUNT:6.1f} pieces a text")


main(*sys.argv[1:])
