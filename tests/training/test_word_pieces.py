"""Word pieces from the configuration to the SavedModel, and fine-tuning between letters and pieces."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml

from jasper_tf.audio.load import load_audio
from jasper_tf.config.sections.decoding_schema import BeamConfig, DecodingConfig
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.manifest.filter import ctc_frames_needed
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.alignment.text_aligner import TextAligner
from jasper_tf.inference.evaluation.evaluate import evaluate
from jasper_tf.inference.load_model import load_model, load_recognizer
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.text.read_tokenizer import read_tokenizer
from jasper_tf.text.train_sentencepiece import SentencePieceOptions, train_sentencepiece
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.fine_tuning import copy_weights, read_pretrained
from jasper_tf.training.trainer import train


@pytest.fixture(scope="module")
def texts(tiny_config):
    return [utterance.text for utterance in read_manifest(tiny_config().model.train_ds.manifest_filepath)]


@pytest.fixture(scope="module")
def folder(texts, tmp_path_factory):
    """Of a BPE model that writes the texts of both sets."""
    folder = tmp_path_factory.mktemp("tok")
    alphabet = ["abcdefghijklmnopqrstuvwxyz'"]
    for name, content in train_sentencepiece(texts * 4 + alphabet, SentencePieceOptions(60)).files().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def with_pieces(tiny_config, folder):
    """`with_pieces("a.b=c", ...)`: the tiny configuration on pieces."""
    pieces = ["model.labels=null", f"model.tokenizer.dir={folder}", "model.tokenizer.type=bpe"]
    return lambda *overrides: tiny_config(*pieces, *overrides)


@pytest.fixture(scope="module")
def model(with_pieces):
    """With random weights: its texts are long."""
    return build_model(with_pieces())


@pytest.fixture(scope="module")
def audio(with_pieces):
    return load_audio(read_manifest(with_pieces().model.validation_ds.manifest_filepath)[0].path)


def test_batches_are_counted_in_pieces(with_pieces, tiny_config, folder, texts):
    batches, selection = build_batches(with_pieces(), "train_ds")
    tokenizer = read_tokenizer(folder, "bpe")
    utterances = selection.utterances
    assert utterances.label_len.tolist() == [len(tokenizer.encode(one.text)) for one in utterances]
    assert max(batches.buckets.labels) < max(build_batches(tiny_config(), "train_ds")[0].buckets.labels)
    _, labels = next(iter(batches.dataset()))
    for row, size in zip(labels["labels"].numpy(), labels["label_len"].numpy(), strict=True):
        assert tokenizer.decode(row[:size]) in texts


def test_an_evaluation_names_what_no_piece_writes(model, with_pieces):
    """Capitals can be encoded, but are never written."""
    utterance = read_manifest(with_pieces().model.validation_ds.manifest_filepath)[0]
    capitals = dataclasses.replace(utterance, text="It Is")
    assert model.tokenizer.out_of_vocabulary(capitals.text) == []
    lines = []
    found = evaluate(Transcriber(model, words=False), [capitals], lines.append)
    assert found.unknown_characters == {"I": 2} and len(lines) == 1


def test_texts_too_long_for_their_sound_are_counted_in_pieces(with_pieces, tiny_config, folder, tmp_path):
    """As many frames as the pieces need, fewer than the letters."""
    tokenizer = read_tokenizer(folder, "bpe")
    lines = map(json.loads, open(with_pieces().model.train_ds.manifest_filepath))
    line = max(lines, key=lambda line: len(line["text"]))
    needed = ctc_frames_needed(tokenizer.encode(line["text"]))
    assert 3 <= needed < len(line["text"]) - 2
    manifest = tmp_path / "short.jsonl"
    durations = [0.02 * frames for frames in (needed + 1, needed - 2)]
    manifest.write_text("".join(json.dumps(line | {"duration": duration}) + "\n" for duration in durations))
    given = [f"model.train_ds.manifest_filepath={manifest}"]
    _, selection = build_batches(with_pieces(*given), "train_ds")
    assert len(selection.utterances) == 1 and "too short" in selection.summary()
    with pytest.raises(UserError, match="no utterance is left"):
        build_batches(tiny_config(*given), "train_ds")


def test_what_no_piece_writes_is_named(with_pieces, tmp_path):
    line = json.loads(open(with_pieces().model.train_ds.manifest_filepath).readline())
    manifest = tmp_path / "odd.jsonl"
    manifest.write_text("".join(json.dumps(line | {"text": text}) + "\n" for text in ("one 9", "ONE")))
    given = [f"model.train_ds.manifest_filepath={manifest}"]
    with pytest.raises(UserError, match="'9' U\\+0039 once"):
        build_batches(with_pieces(*given), "train_ds")
    _, selection = build_batches(with_pieces(*given, "model.train_ds.unknown_characters=remove_character"), "train_ds")
    assert [one.text for one in selection.utterances] == ["one", "ONE"]


def test_bpe_dropout_is_a_function_of_seed_epoch_and_utterance(with_pieces, tiny_config, folder):
    cfg = with_pieces("model.train_ds.bpe_dropout=0.4")
    tokenizer = read_tokenizer(folder, "bpe")

    def labels(epoch):
        batches, _ = build_batches(cfg, "train_ds")
        batches.epoch = epoch
        rows = [(y["labels"].numpy(), y["label_len"].numpy()) for _, y in batches.dataset()]
        return {tuple(row[:size]) for ids, sizes in rows for row, size in zip(ids, sizes, strict=True)}

    first, second = labels(0), labels(1)
    assert labels(0) == first and first != second
    assert {tokenizer.decode(ids) for ids in first} == {tokenizer.decode(ids) for ids in second}
    with pytest.raises(UserError, match="bpe_dropout"):
        build_batches(tiny_config("model.train_ds.bpe_dropout=0.4"), "train_ds")


def test_words_times_and_alignment(model, audio):
    [found] = model.transcribe([audio], sample_rate=16000)
    assert " ".join(word.text for word in found.words) == " ".join(found.text.split()) != ""
    log_probs, lengths = model.log_probs(audio[None], np.array([len(audio)], np.int32))
    text = " ".join(found.text.split()[:3])
    if not model.tokenizer.out_of_vocabulary(text):
        [words] = TextAligner(model.tokenizer, model.frame_s).align([log_probs[0, : lengths[0]]], [text])
        assert [word.text for word in words] == text.split()


@pytest.mark.medium
@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_a_saved_model_writes_what_the_model_writes(model, audio, strategy, tmp_path):
    decoding = DecodingConfig(strategy=strategy, beam=BeamConfig(top_tokens=60))
    export(model, tmp_path / "exported", decoding=decoding)
    served = load_recognizer(tmp_path / "exported")
    [ours] = model.transcribe([audio], sample_rate=16000, decoding=decoding)
    [theirs] = served.transcribe([audio], sample_rate=16000)
    assert theirs.text == ours.text != ""
    assert [word.text for word in theirs.words] == [word.text for word in ours.words]
    if strategy == "beam":
        [hot] = served.transcribe([audio], sample_rate=16000, hot_words={"zeb": 40.0})
        assert "zeb" in hot.text.split()


@pytest.mark.medium
def test_a_run_needs_no_other_folder(with_pieces, folder, texts, tmp_path):
    shutil.copytree(folder, tmp_path / "tok")
    given = [f"model.tokenizer.dir={tmp_path / 'tok'}", f"exp_manager.exp_dir={tmp_path}", "trainer.max_epochs=1"]
    run = train(with_pieces(*given, "exp_manager.resume_if_exists=true"))
    shutil.rmtree(tmp_path / "tok")
    run.rename(tmp_path / "moved")
    model = load_model(tmp_path / "moved")
    assert model.tokenizer.vocabulary == read_tokenizer(folder, "bpe").vocabulary
    cfg = load_config(tmp_path / "moved" / "config.yaml")
    assert build_model(cfg).labels == model.labels
    _, selection = build_batches(cfg, "train_ds")
    assert len(selection.utterances) == len(texts)
    cfg = load_config(tmp_path / "moved" / "config.yaml")
    shutil.rmtree(tmp_path / "moved" / "tokenizer")
    with pytest.raises(UserError, match="model.tokenizer.dir: .*no such folder"):
        build_model(cfg)


def test_fine_tuning_from_pieces_to_letters_and_back(model, with_pieces, tiny_config, folder, tmp_path):
    for name, pretrained in (("pieces", model), ("letters", build_model(tiny_config()))):
        pretrained.save(tmp_path / f"{name}.keras")
    values = with_pieces().to_dict()
    for key in ("labels", "tokenizer", "preprocessor", "encoder"):
        del values["model"][key]
    values["model"]["decoder"] = {}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(values))

    def start(name, *overrides):
        cfg = load_config(tmp_path / "tune.yaml", [f"init_from_pretrained_model={tmp_path / name}.keras", *overrides])
        tuned = build_model(cfg)
        return cfg, tuned, copy_weights(read_pretrained(cfg), tuned)

    cfg, tuned, line = start("pieces")
    assert "tokenizer" in cfg.taken_over and "labels" not in cfg.taken_over and cfg.model.labels is None
    assert tuned.tokenizer.get_config() == model.tokenizer.get_config() and "the head is loaded too" in line
    pieces = [f"model.tokenizer.dir={folder}", "model.tokenizer.type=bpe"]
    _, tuned, line = start("letters", *pieces)
    assert len(tuned.labels) == len(model.labels) and "new head" in line
    _, tuned, line = start("pieces", "model.labels=[' ', a, b]")
    assert tuned.labels == [" ", "a", "b"] and "new head" in line
    _, tuned, line = start("pieces", *pieces)
    assert "the head is loaded too" in line
    # As NeMo's speech_to_text_finetune.yaml has it.
    values["model"]["tokenizer"] = {"update_tokenizer": False, "dir": None, "type": "bpe"}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(values))
    assert "the head is loaded too" in start("pieces")[2]
    cfg, tuned, _ = start("letters")
    assert tuned.labels == cfg.model.labels and cfg.model.tokenizer is None
    # Of a run's folder, whose tokenizer is in a folder of its own.
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    cfg = load_config(tmp_path / "tune.yaml", [f"init_from_pretrained_model={tmp_path / 'run'}"])
    assert cfg.model.tokenizer.dir == str(tmp_path / "run" / "tokenizer")
    assert build_model(cfg).labels == model.labels
