"""The verb estimate-normalization: statistics of a training set, as YAML to paste."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf import load_config
from jasper_tf.__main__ import main
from jasper_tf.features.mel_filterbank import mel_filterbank
from jasper_tf.training.normalization_statistics import count_normalization

pytestmark = pytest.mark.medium


@pytest.fixture
def manifest(spoken_corpus, tmp_path):
    """Six utterances, the last longer than max_duration below."""
    lines = [json.loads(line) for line in (spoken_corpus / "train.jsonl").read_text().splitlines()]
    lines = sorted(lines, key=lambda line: line["duration"])[:6]
    for line in lines:
        line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def overrides(manifest, *more):
    return [f"model.train_ds.manifest_filepath={manifest}", *more]


def twin(paths, bands):
    """Mean and deviation [F] in float64, frame by frame: 20 ms Hann windows every 10 ms, transforms of 512 samples."""
    weights, rows = mel_filterbank(16000, 512, bands).astype(np.float64), []
    window = np.pad(np.hanning(320), 96)
    for path in paths:
        audio, _ = soundfile.read(path)
        sharp = np.pad(np.append(audio[0], audio[1:] - 0.97 * audio[:-1]), 256)
        for frame in range(len(audio) // 160):
            spectrum = np.abs(np.fft.rfft(window * sharp[160 * frame : 160 * frame + 512])) ** 2
            rows.append(np.log(spectrum @ weights + 2**-24))
    return np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1), len(rows)


def test_against_numpy(tiny_file, manifest, tmp_path, capsys):
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    longest = lines[-1]["duration"]
    kept = [line["audio_filepath"] for line in lines if line["duration"] < longest]
    mean, std, frames = twin(kept, 16)
    arguments = [str(tiny_file), *overrides(manifest, f"model.train_ds.max_duration={longest - 1e-3}")]
    output = tmp_path / "normalize.yaml"
    assert main(["estimate-normalization", *arguments, "--output", str(output)]) == 0
    out, err = capsys.readouterr()
    assert output.read_text() == out and f"{frames:,} frames" in err
    found = yaml.safe_load(out)["normalize"]
    np.testing.assert_allclose(found["fixed_mean"], mean, rtol=2e-4)
    np.testing.assert_allclose(found["fixed_std"], std, rtol=2e-4)

    # The lines are ready to paste: a model with them is built, and can stream.
    pasted = tmp_path / "pasted.yaml"
    text = Path(tiny_file).read_text()
    assert text.count("    normalize: per_feature\n") == 1
    pasted.write_text(text.replace("    normalize: per_feature\n", out))
    normalize = load_config(pasted, overrides(manifest)).model.preprocessor.normalize
    assert list(normalize.fixed_mean) == found["fixed_mean"]

    assert main(["estimate-normalization", *arguments, "--output", str(output)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_recording_that_cannot_be_read(tiny_file, manifest, capsys):
    lines = manifest.read_text().splitlines()
    broken = manifest.with_name("broken.wav")
    broken.write_text("text")
    lines[0] = json.dumps({**json.loads(lines[0]), "audio_filepath": str(broken)})
    manifest.write_text("\n".join(lines) + "\n")
    assert main(["estimate-normalization", str(tiny_file), *overrides(manifest)]) != 0
    assert str(broken) in capsys.readouterr().err
    skip = overrides(manifest, "model.train_ds.on_bad_audio=skip", "model.train_ds.max_bad_audio=0.2")
    found = count_normalization(load_config(tiny_file, skip))
    assert "1 could not be read" in found.summary and np.all(found.fixed_std > 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["model.train_ds.manifest_filepath=absent.jsonl"], "absent.jsonl"),
        (["model.preprocessor.features=0"], "model.preprocessor.features"),
        (["--output", "/no/such/folder/x.yaml"], "--output /no/such/folder/x.yaml: cannot write"),
    ],
)
def test_wrong_use(tiny_file, options, said, capsys):
    assert main(["estimate-normalization", str(tiny_file), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and said in err and len(err.splitlines()) == 1


def test_a_feature_that_never_changes(tiny_file, manifest, tmp_path, capsys):
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["audio_filepath"] = str(tmp_path / f"{number}.wav")
        soundfile.write(line["audio_filepath"], np.zeros(round(line["duration"] * 16000)), 16000)
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["estimate-normalization", str(tiny_file), *overrides(manifest)]) == 2
    assert "feature 0 of 16 never changes" in capsys.readouterr().err
