"""Files that load_model refuses: one line each, before memory is taken for what they declare."""

import io
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import soundfile

from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model

LABELS = list(" abc'")
WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def members(untrained_model, tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "model.keras"
    untrained_model(LABELS).save(file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refused(members, tmp_path):
    """`refused(**members)`: the line that load_model says of the sound file with other members."""

    def refused(compression=zipfile.ZIP_STORED, config=None, weights=None):
        other = {**members}
        if config is not None:
            other["config.json"] = config if isinstance(config, bytes) else json.dumps(config).encode()
        if weights is not None:
            other[WEIGHTS] = weights
        with zipfile.ZipFile(tmp_path / "model.keras", "w", compression) as archive:
            for name, content in other.items():
                archive.writestr(name, content)
        return refusal(tmp_path / "model.keras")

    return refused


def refusal(path):
    with warnings.catch_warnings(), pytest.raises(UserError) as error:
        warnings.simplefilter("error")
        load_model(path)
    line = str(error.value)
    assert line.startswith(str(path)) and line.isprintable() and len(line) < len(str(path)) + 500
    return line.removeprefix(str(path))


def changed(members, path, value):
    """The configuration with one value changed, at keys with dots between."""
    config = json.loads(members["config.json"])
    *inner, last = path.split(".")
    place = config["config"]
    for key in inner:
        place = place[int(key) if key.isdecimal() else key]
    place[last] = value
    return config


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_cut_off(refused, tmp_path, share):
    refused(config=b"{")
    file = tmp_path / "model.keras"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert "cut off" in refusal(file)


def test_encrypted_compressed_and_repeated_members(refused, members, tmp_path):
    assert "compressed" in refused(zipfile.ZIP_DEFLATED)
    refused(config=b"{")
    file = tmp_path / "model.keras"
    content = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    file.write_bytes(content)
    assert "encrypted" in refusal(file)
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, content in [*members.items(), ("config.json", members["config.json"])]:
            archive.writestr(name, content)
    assert "twice" in refusal(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", members["config.json"])
    assert "model.weights.h5" in refusal(file)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b'"a"', b"\xff\xfe", b" " * 2**23])
def test_configurations_that_are_none(refused, content):
    assert "config.json" in (line := refused(config=content)) or "damaged" in line


def lambda_layer(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "lambda.keras")
    with zipfile.ZipFile(tmp_path / "lambda.keras") as archive:
        return json.loads(archive.read("config.json"))


def test_other_classes_are_not_made(refused, members, tmp_path):
    assert "'Sequential'" in refused(config=lambda_layer(tmp_path))
    torch = {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gASVAA=="}}
    assert "'TorchModuleWrapper'" in refused(config=torch)
    for inner in (torch, lambda_layer(tmp_path)):
        assert "config.json" in refused(config=changed(members, "encoder.jasper", [inner]))
        assert "config.json" in refused(config=changed(members, "preprocessor.window", inner))
        assert "config.json" in refused(config=changed(members, "more", inner))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder.jasper.0.filters", 10**9),
        ("encoder.jasper.0.filters", 10**400),
        ("encoder.jasper.0.repeat", 10**9),
        ("encoder.jasper.0.kernel", [10**9]),
        ("encoder.jasper.0.kernel", [10**15]),
        ("encoder.jasper.0.kernel_size_factor", 1e300),
        ("encoder.jasper.0.groups", 10**9),
        ("encoder.jasper.0.filters", "???"),
        ("encoder.jasper.0.filters", None),
        ("encoder.jasper", []),
        ("encoder.feat_in", 10**9),
        ("encoder.activation", "lambda"),
        ("preprocessor.n_fft", 10**9),
        ("preprocessor.window_size", 1e12),
        ("preprocessor.features", 10**7),
        ("preprocessor", None),
        ("labels", []),
        ("labels", [" ", "a", "b", "c", "'", "d"]),
        ("labels", [1]),
        ("labels", "\n"),
        ("seed", 10**400),
        ("sample_rate", 10**400),
        ("sample_rate", "a\nb"),
    ],
)
def test_absurd_configurations(refused, members, key, value):
    refused(config=changed(members, key, value))


def test_many_dense_blocks(refused, members):
    """Each block reads all before it: a short file describes a model of many arrays."""
    block = json.loads(members["config.json"])["config"]["encoder"]["jasper"][0]
    dense = {**block, "stride": [1], "filters": 1, "kernel": [1], "residual": True, "residual_dense": True}
    assert "describes a model" in refused(config=changed(members, "encoder.jasper", [block, *[dense] * 30]))
    assert "convolutions" in refused(config=changed(members, "encoder.jasper", [block, *[dense] * 1500]))


def rewritten(members, change):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        change(weights)
    return file.getvalue()


def first_array(weights):
    found = []
    weights.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found[0]


def replace(weights, **how):
    name = first_array(weights)
    del weights[name]
    weights.create_dataset(name, **how)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda w: replace(w, shape=(2**28,), dtype="f4", chunks=(2**20,), compression="gzip"), "declares"),
        (lambda w: replace(w, shape=(2**40,), dtype="f4", chunks=(2**20,)), "declares"),
        (lambda w: replace(w, shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)]), "not an array of numbers"),
        (lambda w: replace(w, data=["a"]), "not an array of numbers"),
        (lambda w: w.move(first_array(w), "gone"), "weights are not those"),
        (lambda w: replace(w, data=np.zeros(3, "f4")), "weights are not those"),
        (lambda w: w.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "is a link"),
        (lambda w: w.__setitem__("x", h5py.SoftLink("/layers")), "is a link"),
        (lambda w: w[first_array(w)].__setitem__(0, np.nan), "NaN"),
        (lambda w: w[first_array(w)].__setitem__(0, np.inf), "NaN"),
    ],
    ids=["deflated", "never written", "external", "texts", "moved", "other shape", "file", "link", "nan", "infinite"],
)
def test_weights(refused, members, change, word):
    assert word in refused(weights=rewritten(members, change))


def test_negative_variance(untrained_model, tmp_path):
    model = untrained_model(LABELS)
    variance = next(v for v in model.weights if v.name == "moving_variance")
    variance.assign(variance.value * -1)
    model.save(tmp_path / "model.keras")
    assert "moving_variance" in refusal(tmp_path / "model.keras")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_damaged_weights(refused, members, share):
    content = members[WEIGHTS]
    cut = int(share * len(content))
    assert WEIGHTS in refused(weights=content[:cut]) or share
    refused(weights=content[:cut])
    refused(weights=bytes(len(content)))


@pytest.mark.parametrize("std", [0, -1, 1e-50, float("nan"), float("inf")])
def test_statistics_that_divide_by_nothing(refused, members, std):
    statistics = {"fixed_mean": [0.0] * 64, "fixed_std": [std] * 64}
    assert "fixed_std" in refused(config=changed(members, "preprocessor.normalize", statistics))


def test_a_language_model_that_is_not_there(untrained_model, tmp_path):
    """It stops what decodes with it, with one line; loading, log-probabilities and other decoders need none."""
    plain = untrained_model(list(" ab"))
    beam = {"beam_size": 4, "ngram_lm_model": str(tmp_path / "lm.arpa")}
    config = plain.get_config() | {"decoding": {"strategy": "beam", "beam": beam}}
    type(plain).from_config(config).save(tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")
    assert model.decoding_config.beam.ngram_lm_model == beam["ngram_lm_model"]
    model.set_weights(plain.get_weights())
    sound = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    log_probs, _ = model.log_probs(sound[None], np.array([8000], np.int32))
    assert log_probs.shape[2] == 4
    with pytest.raises(UserError, match=r"^decoding.beam.ngram_lm_model: .*lm.arpa: no such file; .*strategy=greedy$"):
        model.transcribe(sound)
    assert model.transcribe(sound, decoding={}).text == plain.transcribe(sound).text
    # Its own file is honored as soon as it is there.
    (tmp_path / "lm.arpa").write_text(
        "\\data\\\nngram 1=5\n\n\\1-grams:\n-9\t<unk>\n0\t<s>\n-1\t</s>\n-0.1\tba\n-0.2\tab\n\n\\end\\\n"
    )
    found = model.transcribe(sound)
    assert found.text == model.transcribe(sound, decoding=model.decoding_config).text
    assert found.text != plain.transcribe(sound, decoding={"strategy": "beam", "beam": {"beam_size": 4}}).text


@pytest.mark.medium
def test_the_command_prints_one_line(refused, tmp_path, without_tensorflow_log):
    refused(config=b"[" * 100_000)
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    command = [sys.executable, "-m", "jasper_tf", "transcribe", "--model", "model.keras", "a.wav"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root}, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    [line] = without_tensorflow_log(done.stderr).splitlines()
    assert line.startswith("error: model.keras: ")
