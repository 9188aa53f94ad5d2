"""sherpa-onnx runs the models that are written for it."""

import dataclasses

import pytest

from jasper_tf.config import PreprocessorConfig
from jasper_tf.errors import UserError
from jasper_tf.export.edge.calibration import read_calibration
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.export.onnx.sherpa import write_tokens
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.text.tokenizer import CharacterTokenizer

sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="needs sherpa-onnx")

TARGETS = ("sherpa-nemo", "sherpa-raw")
BLOCK = {"filters": 16, "repeat": 1, "kernel": [5], "stride": [2], "residual": False}


@pytest.fixture(scope="module")
def an4(shared):
    manifest = shared / "data" / "an4" / "dev_manifest.json"
    model = load_model(shared / "pretrained" / "an4_anchor.nemo")
    return model, str(manifest), read_calibration(str(manifest), 16000, lambda line: None)[::3]


@pytest.mark.medium
@pytest.mark.parametrize("quantize", ["none", "int8-static"])
def test_its_texts_are_nearly_ours(an4, tmp_path, quantize):
    model, manifest, clips = an4
    said = []
    folder = export_edge(model, tmp_path / "edge", "onnx", quantize, TARGETS, manifest, say=said.append)
    files = [str(folder / f"{name}.onnx") for name in TARGETS]
    tokens = str(folder / "tokens.txt")
    nemo = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(files[0], tokens, feature_dim=64)
    raw = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(files[1], tokens)
    ours = [one.text for one in model.transcribe([clip.audio for clip in clips])]
    for recognizer, fewest in ((nemo, 15), (raw, 22)):
        same = 0
        for clip, text in zip(clips, ours, strict=True):
            stream = recognizer.create_stream()
            stream.accept_waveform(16000, clip.audio)
            recognizer.decode_stream(stream)
            same += stream.result.text.strip() == text
        assert len(clips) == 30 and same >= fewest
    # Its window is 25 ms, that of the model 20.
    assert [("sherpa-nemo" in line) for line in said].count(True) == 1 and not any("sherpa-raw:" in x for x in said)


def small(sample_rate=16000, stride=2, **preprocessor):
    arguments = dataclasses.asdict(PreprocessorConfig()) | {"features": 16, **preprocessor}
    encoder = {"feat_in": 16, "jasper": [{**BLOCK, "stride": [stride]}]}
    return JasperCTC(list(" ab"), arguments, encoder, sample_rate=sample_rate)


@pytest.mark.parametrize(
    ("target", "model", "words"),
    [
        ("sherpa-nemo", {"window_stride": 0.008}, ("window_stride", "sherpa-raw")),
        ("sherpa-nemo", {"window_size": 0.03}, ("window_size",)),
        ("sherpa-nemo", {"window": "hamming"}, ("window", "hann")),
        ("sherpa-nemo", {"n_fft": 1024}, ("n_fft",)),
        ("sherpa-nemo", {"highfreq": 7000}, ("highfreq",)),
        ("sherpa-nemo", {"preemph": None}, ("preemph",)),
        ("sherpa-nemo", {"log": False}, ("log",)),
        ("sherpa-nemo", {"sample_rate": 8000, "n_fft": 512}, ("8000",)),
        ("sherpa-raw", {"sample_rate": 8000}, ("8000",)),
        ("sherpa-raw", {}, ("--calibration",)),
    ],
)
def test_what_sherpa_cannot_run_is_refused(tmp_path, target, model, words):
    with pytest.raises(UserError) as error:
        export_edge(small(**model), tmp_path / "edge", "onnx", targets=(target,), say=lambda line: None)
    assert target in str(error.value) and all(word in str(error.value) for word in words)
    assert not (tmp_path / "edge").exists()


def test_wrong_times_are_told(spoken_corpus, tmp_path):
    said: list[str] = []
    options = {"targets": ("sherpa-raw",), "calibration": str(spoken_corpus / "dev.jsonl")}
    export_edge(small(stride=4), tmp_path / "edge", "onnx", say=said.append, **options)
    assert any("sherpa-raw" in line and "40 ms" in line for line in said)


def test_tokens_are_those_of_sherpa(tmp_path):
    write_tokens(CharacterTokenizer(list(" aé'")), tmp_path / "tokens.txt")
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8") == "▁ 0\na 1\né 2\n' 3\n<blk> 4\n"
    with pytest.raises(UserError, match="tokens.txt"):
        write_tokens(CharacterTokenizer(["a", "\t"]), tmp_path / "other.txt")


@pytest.mark.parametrize("kind", ["unigram", "wpe"])
def test_tokens_of_word_pieces_join_to_the_text(piece_tokenizers, tmp_path, kind):
    tokenizer = piece_tokenizers[kind]
    write_tokens(tokenizer, tmp_path / "tokens.txt")
    rows = [line.split(" ") for line in (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()]
    assert [int(number) for _, number in rows] == [*range(len(tokenizer) + 1)] and rows[-1][0] == "<blk>"
    ids = tokenizer.encode_batch(["seven of nine"])[0]
    assert "".join(rows[i][0] for i in ids).replace("▁", " ").strip() == tokenizer.decode(ids) != ""
