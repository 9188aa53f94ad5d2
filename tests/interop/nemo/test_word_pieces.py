"""NeMo's models of word pieces in and out: `golden/bpe` holds what NeMo itself makes of one."""

import json

import numpy as np
import pytest
import yaml

from jasper_tf.audio.load import load_audio
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.interop.nemo.archive import read_archive, write_archive
from jasper_tf.interop.nemo.model import export_nemo, import_nemo
from jasper_tf.losses.ctc import CTCLoss
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "bpe"


@pytest.fixture(scope="module")
def recorded(folder):
    return json.loads((folder / "full_bpe.json").read_text())


@pytest.fixture(scope="module")
def imported(folder):
    return import_nemo(folder / "small_bpe.nemo")


@pytest.fixture(scope="module")
def waves(folder, recorded):
    return [str(folder / "waves" / name) for name in recorded["files"]]


def rewrite(path, files=None, **config):
    """The archive with other files of the tokenizer, or other keys at the top of its configuration."""
    held = read_archive(path)
    values = {**yaml.safe_load(held.config), **config}
    write_archive(path, yaml.safe_dump(values), held.weights, held.tokenizer if files is None else files)


def test_the_same_numbers(imported, folder, waves):
    expected = np.load(folder / "full_bpe.npz")
    log_probs, lengths = imported.model.log_probs(*pad_audio([load_audio(path) for path in waves]))
    np.testing.assert_array_equal(lengths, expected["enc_len"])
    for ours, theirs, length in zip(log_probs, expected["log_probs"], lengths, strict=True):
        np.testing.assert_allclose(ours[:length], theirs[:length], rtol=0, atol=2e-4)
    y = {"labels": expected["labels"].astype(np.int32), "label_len": expected["label_len"].astype(np.int32)}
    loss = CTCLoss("mean_batch")(y, {"logits": log_probs, "logit_len": lengths})
    np.testing.assert_allclose(float(loss), float(expected["loss"]), rtol=1e-4)
    assert imported.notes == []


def test_the_same_texts_and_times(imported, recorded, waves):
    found = imported.model.transcribe(waves, batch_size=1)
    frame_s = imported.model.frame_s
    for ours, theirs in zip(found, recorded["transcribe"], strict=True):
        assert ours.text == theirs["text"]
        stamps = theirs["timestamp"]["word"]
        assert [word.text for word in ours.words] == [stamp["word"] for stamp in stamps]
        # NeMo ends a piece where it is first heard, and begins it where the piece before ended.
        pieces = iter(theirs["timestamp"]["char"])
        for word in ours.words:
            first = next(pieces)
            assert word.start_s == pytest.approx(first["end_offset"] * frame_s)
            text = first["char"]
            while text != word.text:
                text += next(pieces)["char"]
            assert word.end_s > word.start_s


def test_an_export_is_imported_again(imported, tmp_path):
    path = tmp_path / "model.nemo"
    assert export_nemo(imported.model, imported.config, path) == []
    held = read_archive(path)
    config = yaml.safe_load(held.config)
    assert config["target"].endswith("ctc_bpe_models.EncDecCTCModelBPE")
    assert config["labels"] is None
    assert config["decoder"]["vocabulary"] == list(imported.model.tokenizer.vocabulary)
    given = config["tokenizer"]
    assert given["type"] == "bpe" and given["model_path"].removeprefix("nemo:") in held.tokenizer
    assert {"vocab_path", "spe_tokenizer_vocab"} <= given.keys()
    again = import_nemo(path)
    assert again.model.tokenizer.get_config() == imported.model.tokenizer.get_config()
    for ours, theirs in zip(again.model.weights, imported.model.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_an_imported_folder_can_be_moved(imported, tmp_path):
    imported.write(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    model = load_model(tmp_path / "there")
    assert model.tokenizer.get_config() == imported.model.tokenizer.get_config()
    config = load_config(tmp_path / "there" / "config.yaml")
    assert build_model(config).tokenizer.pieces == model.tokenizer.pieces
    export_nemo(model, config, tmp_path / "again.nemo")
    assert import_nemo(tmp_path / "again.nemo").model.labels == model.labels


def test_names_of_old_archives(imported, tmp_path):
    path = tmp_path / "model.nemo"
    export_nemo(imported.model, imported.config, path)
    [model] = [content for name, content in read_archive(path).tokenizer.items() if name.endswith(".model")]
    for stored in ("/tmp/abc/tokenizer.model", None):
        rewrite(path, {"tokenizer.model": model}, tokenizer={"dir": "x", "type": "bpe", "model_path": stored})
        assert import_nemo(path).model.labels == imported.model.labels


def test_a_word_piece_vocabulary(imported, tmp_path):
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"] + list("cdefgh"))
    config = imported.config.to_dict()
    config["model"]["tokenizer"]["type"] = "wpe"
    config["model"]["decoder"] |= {"num_classes": -1, "vocabulary": None}
    (tmp_path / "tok").mkdir()
    for name, content in tokenizer.files().items():
        (tmp_path / "tok" / name).write_bytes(content)
    config["model"]["tokenizer"]["dir"] = str(tmp_path / "tok")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    cfg = load_config(tmp_path / "config.yaml")
    model = build_model(cfg)
    export_nemo(model, cfg, tmp_path / "model.nemo")
    values = yaml.safe_load(read_archive(tmp_path / "model.nemo").config)
    assert values["tokenizer"].keys() == {"dir", "type", "vocab_path"} and values["tokenizer"]["type"] == "wpe"
    assert import_nemo(tmp_path / "model.nemo").model.tokenizer.get_config() == tokenizer.get_config()


@pytest.mark.parametrize(
    ("tokenizer", "files", "reason"),
    [
        ({"dir": "x", "type": "agg", "langs": {}}, None, "'agg' is not supported"),
        ({"dir": "x", "type": "bpe", "model_path": "nemo:x"}, {}, "no file 'x' in the archive"),
        ({"dir": "x", "type": "bpe", "model_path": "nemo:x"}, {"x_tokenizer.model": b"no"}, "not a SentencePiece"),
        ("bpe", None, "not supported"),
    ],
)
def test_archives_that_are_refused(imported, tmp_path, tokenizer, files, reason):
    path = tmp_path / "model.nemo"
    export_nemo(imported.model, imported.config, path)
    rewrite(path, files, tokenizer=tokenizer)
    with pytest.raises(UserError, match=reason):
        import_nemo(path)


@pytest.mark.parametrize("kind", ["unigram", "wpe"])
def test_models_that_nemo_made(golden, kind):
    """`tests/golden/make_word_pieces.py`: NeMo's round trips and log-probabilities of unigram and WordPiece models."""
    expected = json.loads((golden / "word_pieces.json").read_text(encoding="utf-8"))[kind]
    model = import_nemo(golden / f"{kind}.nemo").model
    assert len(model.tokenizer) + 1 == expected["classes"]
    for one in expected["round_trip"]:
        assert list(model.tokenizer.encode_batch([one["text"]])[0]) == one["ids"]
        assert model.tokenizer.decode(one["ids"]) == one["back"]
    audio = np.random.default_rng(0).normal(size=(1, 8000)).astype(np.float32) * np.float32(0.1)
    log_probs, lengths = model.log_probs(audio, np.array([8000], np.int32))
    theirs = np.array(expected["log_probs"])
    length = len(range(0, int(lengths[0]), 5))
    np.testing.assert_allclose(log_probs[0, : lengths[0] : 5], theirs[:length], rtol=0, atol=2e-4)
