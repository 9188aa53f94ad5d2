"""Functions that the tests of `prepare` share."""

import csv
import json
import os

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.data.manifest.columns import read_manifest


@pytest.fixture
def make_sound():
    """`make_sound(path, samples, rate)`: noise in a sound file."""

    def make_sound(path, samples=1234, rate=16000, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(samples).uniform(-0.1, 0.1, samples)
        soundfile.write(path, noise, rate, **options)
        return path

    return make_sound


@pytest.fixture
def prepare(capsys):
    """`prepare(*arguments)`: the command, which must succeed; with `left_out` not use so many recordings."""

    def prepare(*arguments, left_out=0):
        assert main(["prepare", *map(str, arguments)]) == (1 if left_out else 0)
        if left_out:
            said = capsys.readouterr()
            (line,) = said.err.splitlines()
            assert line.startswith(f"{left_out} of ") and "exit status 1" in line
            print(said.out, end="")  # for the test

    return prepare


@pytest.fixture
def lines_of():
    """`lines_of(manifest)`: its lines, each checked: read as in training, as long as the sound to the sample."""

    def lines_of(manifest):
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        for line, utterance in zip(lines, read_manifest(manifest), strict=True):
            assert not os.path.isabs(line["audio_filepath"])
            path = manifest.parent / line["audio_filepath"]
            info = soundfile.info(path)
            assert line["duration"] == info.frames / info.samplerate
            assert utterance.text == line["text"]
            assert len(load_audio(path, info.samplerate)) == info.frames
        return lines

    return lines_of


@pytest.fixture
def table():
    """`table(path)`: the rows of a TSV."""

    def table(path):
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    return table


@pytest.fixture
def refused(capsys):
    """`refused(*arguments)`: the one line that the command prints when it refuses."""

    def refused(*arguments):
        assert main(["prepare", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith("error: ")
        return line

    return refused
