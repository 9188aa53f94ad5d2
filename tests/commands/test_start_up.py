"""Commands that need no TensorFlow, whose import takes seconds, do not load it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import find_verbs
from jasper_tf.export.edge.writer import export_edge
from tests.export.edge.models import small_model

PROGRAM = """
import sys
from jasper_tf.__main__ import main

def run(*arguments):
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    heavy = {"tensorflow", "keras", "matplotlib", "scipy", "sklearn", "numba", "pandas"} & set(sys.modules)
    print(status, *sorted(heavy), file=sys.stderr)

"""


def run(*arguments):
    """Status and heavy packages of a command, and what it printed."""
    code = PROGRAM + "run(*sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    return done.stderr.splitlines()[-1], done.stdout


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "noise.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 16000), 16000)
    return path


@pytest.fixture
def manifest(recording):
    path = recording.with_name("train.json")
    line = {"audio_filepath": str(recording), "duration": 1.0, "text": "a b"}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


@pytest.mark.medium
@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_transcribing_with_an_edge_model(form, recording, tmp_path):
    model = small_model("usual", "excitation")
    folder = export_edge(model, tmp_path / "edge", form, say=lambda line: None)
    for options in (["--format", "json", "--words"], ["decoding.confidence_cfg.preserve_word_confidence=true"]):
        status, printed = run("transcribe", recording, "--model", folder, *options)
        assert status == "0"
    assert printed == f"{recording}\t{model.transcribe(recording).text}\n"
    status, beam = run("transcribe", recording, "--model", folder, "decoding.strategy=beam")
    assert status.startswith("0 keras") and "sklearn" not in status
    assert beam == f"{recording}\t{model.transcribe(recording, decoding={'strategy': 'beam'}).text}\n"


VERBS = list(find_verbs())


@pytest.mark.medium
@pytest.mark.parametrize("arguments", [["--help"], ["config", "list"], ["config", "show", "an4.yaml"]])
def test_what_only_reads_texts(arguments):
    assert run(*arguments)[0] == "0"


@pytest.mark.medium
def test_help():
    code = PROGRAM + "for verb in sys.argv[1:]:\n    run(verb, '--help')"
    done = subprocess.run([sys.executable, "-c", code, *VERBS], capture_output=True, text=True)
    assert list(zip(VERBS, done.stderr.splitlines(), strict=True)) == [(verb, "0") for verb in VERBS]


@pytest.mark.medium
def test_manifests_and_language_models(manifest, tmp_path):
    assert run("check", "--manifest", manifest, "--labels", " abc")[0] == "0"
    assert run("estimate-buckets", "--manifest", manifest)[0] == "0"
    text = tmp_path / "text"
    text.write_text("a b\nb a\na a b\n", encoding="utf-8")
    lm = tmp_path / "lm.arpa"
    assert run("lm", "build", "--text", text, "--order", 2, "--discount-fallback", "--output", lm)[0] == "0"
    assert run("lm", "perplexity", "--lm", lm, "--text", text)[0] == "0"


@pytest.mark.medium
def test_a_client_without_a_server(recording):
    assert run("client", "--rest", "--server", "localhost:1", "--retries", 0, recording)[0] == "1"
