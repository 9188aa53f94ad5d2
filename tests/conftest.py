"""Fixtures for every test: reference data, golden numbers, a small spoken corpus."""

import contextlib
import csv
import fcntl
import io
import json
import os
import re
import shutil

# TensorFlow reads it once, at its first import: before any test module is collected.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COSTLY_FIXTURES = {"tiny_run", "loopback", "on_two_devices"}


def pytest_collection_modifyitems(items):
    """Marks as `medium` what needs a finished run, a server or a process with two devices."""
    for item in items:
        if COSTLY_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.medium)


@pytest.fixture(scope="session")
def without_tensorflow_log():
    """What a command itself wrote to stderr: TensorFlow 2.21 logs while it is imported, whatever level is asked for."""
    lines = re.compile(r"(?m)^(WARNING: All log messages before absl|[IWEF]\d{4} ).*\n")
    return lambda stderr: lines.sub("", stderr)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and reference numbers beside the repository (JASPER_SHARED)."""
    folder = Path(os.environ.get("JASPER_SHARED") or REPOSITORY.parent / "shared")
    if folder.is_dir():
        return folder.resolve()
    reason = f"no reference data at {folder}; JASPER_SHARED names their folder"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of small reference numbers that is part of the repository."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory):
    """`built_once(name, build)`: a folder that `build(folder)` fills, once for all of pytest-xdist's processes."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def built_once(name: str, build) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait here, also when the first one dies
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return built_once


@pytest.fixture(scope="session")
def spoken_corpus(built_once) -> Path:
    """Synthesized speech, not to be changed: train.jsonl (96 utterances), dev.jsonl (12), test.jsonl (16)."""
    from jasper_tf.data.corpora.synthesis import make_corpus

    return built_once("spoken_corpus", lambda folder: make_corpus(folder, train=96, dev=12, test=16, seed=1))


@pytest.fixture(scope="session")
def mixed_formats(spoken_corpus: Path, built_once) -> Path:
    """A manifest, not to be changed: 16 synthesized utterances in several formats, at several rates."""
    import numpy as np
    import soundfile
    import soxr

    kinds = [  # name, format's arguments, rate in Hz, channels
        ("flac", {"subtype": "PCM_24"}, 44_100, 2),
        ("ogg", {"subtype": "VORBIS"}, 44_100, 1),
        ("mp3", {"format": "MP3"}, 48_000, 1),
        ("wav", {"subtype": "PCM_16"}, 8_000, 1),
        ("wav", {"subtype": "PCM_16"}, 48_000, 2),
        ("mp3", {"format": "MP3"}, 22_050, 1),
        ("wav", {"subtype": "ULAW"}, 8_000, 1),
        ("flac", {"subtype": "PCM_16"}, 16_000, 1),
    ]

    def build(folder: Path) -> None:
        lines = [json.loads(line) for line in (spoken_corpus / "test.jsonl").read_text().splitlines()]
        for number, line in enumerate(lines):
            suffix, arguments, rate, channels = kinds[number % len(kinds)]
            samples, original = soundfile.read(spoken_corpus / line["audio_filepath"])
            sound = soxr.resample(samples, original, rate)[:, None] * np.linspace(0.9, 0.5, channels)
            line["audio_filepath"] = f"{line['speaker']}/{number}.{suffix}"
            (folder / line["speaker"]).mkdir(exist_ok=True)
            soundfile.write(folder / line["audio_filepath"], sound, rate, **arguments)
        (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return built_once("mixed_formats", build) / "manifest.jsonl"


@pytest.fixture(scope="session")
def untrained_model():
    """`untrained_model(labels)`: a JasperCTC of one block with random weights, always the same."""
    import dataclasses

    from jasper_tf.config import PreprocessorConfig
    from jasper_tf.model.jasper_ctc import JasperCTC

    block = {"filters": 24, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.2}
    encoder = {"feat_in": 64, "jasper": [{**block, "residual": False}]}
    return lambda labels: JasperCTC(labels, dataclasses.asdict(PreprocessorConfig()), encoder, seed=3)


@pytest.fixture(scope="session")
def piece_tokenizers(golden):
    """Those of NeMo-made models by kind, "unigram" and "wpe"."""
    from jasper_tf.interop.nemo.archive import read_archive
    from jasper_tf.text.sentencepiece_tokenizer import SentencePieceTokenizer
    from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

    def content(kind: str, ending: str) -> bytes:
        files = read_archive(golden / f"{kind}.nemo").tokenizer
        return next(content for name, content in files.items() if name.endswith(ending))

    lines = content("wpe", "vocab.txt").decode().splitlines()
    return {
        "unigram": SentencePieceTokenizer(content("unigram", ".model")),
        "wpe": WordPieceTokenizer(lines),
    }


@pytest.fixture(scope="session")
def tiny_config(spoken_corpus: Path, built_once):
    """`tiny_config("trainer.max_epochs=2", ...)`: a Config of 3 blocks, 22 training and 5 validation utterances.

    Without TensorBoard, whose pictures take a quarter of the time of so short a training.
    """
    import yaml

    from jasper_tf import load_config

    def write_manifests(folder: Path) -> None:
        for split, count in (("train", 22), ("dev", 5)):
            lines = [json.loads(line) for line in (spoken_corpus / f"{split}.jsonl").read_text().splitlines()]
            lines = sorted(lines, key=lambda line: line["duration"])[:count]
            for line in lines:
                line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    manifests = built_once("tiny_manifests", write_manifests)
    block = {"repeat": 1, "kernel": [7], "stride": [1], "dilation": [1], "dropout": 0.1, "residual": False}
    values = {
        "name": "tiny",
        "model": {
            "labels": list(" abcdefghijklmnopqrstuvwxyz'"),
            "train_ds": {"manifest_filepath": str(manifests / "train.jsonl"), "batch_size": 4, "shuffle": True},
            "validation_ds": {"manifest_filepath": str(manifests / "dev.jsonl"), "batch_size": 4},
            "preprocessor": {"features": 16},
            "spec_augment": {"time_masks": 1, "freq_masks": 1},
            "encoder": {
                "feat_in": 16,
                "jasper": [
                    {**block, "filters": 16, "stride": [2]},
                    {**block, "filters": 16, "repeat": 2, "residual": True, "se": True},
                    {**block, "filters": 24, "kernel": [1]},
                ],
            },
            "decoder": {},
            "optim": {
                "lr": 0.02,
                "betas": [0.8, 0.5],
                "weight_decay": 0.001,
                "sched": {"name": "CosineAnnealing", "warmup_steps": 2},
            },
        },
        "trainer": {"accelerator": "cpu", "max_epochs": 2},
        "exp_manager": {"create_tensorboard_logger": False},
    }
    text = yaml.safe_dump(values, sort_keys=False)
    file = built_once("tiny_config", lambda folder: (folder / "tiny.yaml").write_text(text)) / "tiny.yaml"
    return lambda *overrides: load_config(file, overrides)


@pytest.fixture(scope="session")
def logged_figures():
    """`logged_figures(run's folder)`: rows of metrics.csv and points of every curve, those of speed left out."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    timed = ("utterances_per_s", "steps_per_s", "model_flop_per_s", "mfu")

    def logged_figures(folder: Path):
        rows = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
        page = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()
        curves = {
            tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in page.Tensors(tag)]
            for tag in page.PluginTagToContent("scalars")
            if tag.removeprefix("train/") not in timed
        }
        return [{key: value for key, value in row.items() if key not in timed} for row in rows], curves

    return logged_figures


@pytest.fixture(scope="session")
def tiny_run(tiny_config, built_once):
    """A finished run, not to be changed: its configuration, its folder and what it printed; 3 epochs of 6 steps."""
    from jasper_tf.training.trainer import train

    def config(folder: Path):
        return tiny_config(
            "trainer.max_epochs=3",
            "trainer.log_every_n_steps=4",
            "trainer.peak_tflop_per_s=0.25",
            "exp_manager.create_tensorboard_logger=true",
            f"exp_manager.exp_dir={folder}",
            "exp_manager.resume_if_exists=true",
            "exp_manager.checkpoint_callback_params={every_n_train_steps: 2, save_top_k: -1}",
        )

    def build(folder: Path) -> None:
        with open(folder / "printed", "w") as printed, contextlib.redirect_stdout(printed):
            train(config(folder))

    runs = built_once("tiny_runs", build)
    return config(runs), runs / "tiny", (runs / "printed").read_text()


@pytest.fixture
def tiny_file(tiny_run, tmp_path) -> Path:
    """The finished run's configuration as a file, without TensorBoard."""
    text = (tiny_run[1] / "config.yaml").read_text()
    file = tmp_path / "tiny.yaml"
    file.write_text(text.replace("create_tensorboard_logger: true", "create_tensorboard_logger: false"))
    return file


@pytest.fixture
def certain(tiny_run, tmp_path) -> list[str]:
    """Overrides for a run without chance, of 21 utterances: the last batch of 4 holds one, some device none of it."""
    manifest = tmp_path / "21.jsonl"
    lines = Path(tiny_run[0].model.train_ds.manifest_filepath).read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:21]))
    overrides = [f"model.encoder.jasper.{i}.dropout=0" for i in range(3)]
    overrides += ["model.spec_augment=null", "model.preprocessor.dither=0", "trainer.gradient_clip_val=1.0"]
    return [*overrides, f"model.train_ds.manifest_filepath={manifest}", "model.optim.lr=0.002", "trainer.max_epochs=2"]


@pytest.fixture(scope="session")
def assert_close_runs():
    """`assert_close_runs(one, other)`: losses, error rates and weights of two runs to 1e-5, and the same counts."""
    import numpy as np

    from jasper_tf.training.run.checkpoint_manager import CheckpointManager

    def figures(folder: Path) -> list[dict[str, str]]:
        with open(folder / "metrics.csv", newline="") as file:
            return list(csv.DictReader(file))

    def assert_close_runs(one: Path, other: Path) -> None:
        rows = list(zip(figures(one), figures(other), strict=True))
        assert rows
        for a, b in rows:
            training = {"step", "loss", "learning_rate", "grad_norm", "infeasible", "blank_share"}
            for key in training | {key for key in a if key.startswith(("val_", "final_", "inter_"))}:
                assert (a[key] == "") == (b[key] == ""), key
                if a[key]:
                    assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-5), key
        newest = [CheckpointManager(folder / "checkpoints").paths()[-1] / "variables.npz" for folder in (one, other)]
        with np.load(newest[0]) as a, np.load(newest[1]) as b:
            assert set(a.files) == set(b.files)
            for key in a.files:
                np.testing.assert_allclose(a[key], b[key], atol=1e-5, err_msg=key)

    return assert_close_runs


@pytest.fixture(scope="session")
def on_two_devices():
    """`on_two_devices(script, *arguments)`: what the script prints in a process with two CPU devices."""
    from tests.two_devices import TwoDevices

    with TwoDevices() as devices:
        yield devices.run


@pytest.fixture(scope="session")
def loopback(untrained_model, tmp_path_factory: pytest.TempPathFactory):
    """A model (its labels: letters, é, ') and a server on 127.0.0.1 that runs its SavedModel; see `serving` beside."""
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    import numpy as np

    from jasper_tf.export.saved_model.writer import export
    from jasper_tf.serving.client.grpc_client import GrpcClient
    from jasper_tf.serving.client.rest_client import RestClient
    from tests.serving.client.loopback_serving import LoopbackServing

    model = untrained_model(list(" abcdefghijklmnopqrstuvwxyé'"))
    with LoopbackServing(export(model, tmp_path_factory.mktemp("serving") / "model").parent) as serving:
        # The first call of a signature prepares it, which may take longer than a test waits.
        with GrpcClient(serving.address) as grpc, RestClient(serving.rest_address) as rest:
            for client in (grpc, rest):
                client.recognize(np.zeros(8000, np.float32))
        yield model, serving


@pytest.fixture
def serving(loopback):
    """The running server of `loopback`, quick and willing again after each test."""
    _, serving = loopback
    serving.requests = 0
    yield serving
    serving.delay_s, serving.failures = 0.0, []


@pytest.fixture(scope="session")
def served_model(loopback):
    """The model that `serving` runs, in this process."""
    return loopback[0]


@pytest.fixture(scope="session")
def streaming_model():
    """A JasperCTC of three blocks with random weights that can stream: 640 samples a frame, 2 frames of look-ahead."""
    import dataclasses

    from jasper_tf.config import PreprocessorConfig
    from jasper_tf.model.jasper_ctc import JasperCTC

    normalize = {"fixed_mean": [-4.4] * 16, "fixed_std": [0.15] * 16}
    preprocessor = dataclasses.asdict(PreprocessorConfig(features=16, normalize=normalize))
    block = {"repeat": 1, "kernel": 5, "residual": False, "filters": 16}
    jasper = [
        {**block, "stride": 2, "future_context": 2},
        {**block, "stride": 2, "future_context": 1},
        {**block, "repeat": 2, "separable": True, "residual": True, "future_context": 0},
    ]
    encoder = {"feat_in": 16, "jasper": jasper}
    return JasperCTC(list(" abcdefghijklmnopqrstuvwxyé'"), preprocessor, encoder, seed=4)


@pytest.fixture(scope="session")
def s3_server():
    """moto's S3 server, a process on loopback: (URL, environment with made-up credentials)."""
    pytest.importorskip("moto", reason="needs moto and s3fs: pip install 'jasper-tf[cloud,dev]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAMADEUPFORTESTS",
        "AWS_SECRET_ACCESS_KEY": "made/up+secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "JASPER_STORAGE_TIMEOUT_S": "60",
    }
    while True:
        assert process.poll() is None
        try:
            urllib.request.urlopen(f"{url}/moto-api/").close()
            break
        except OSError:
            time.sleep(0.05)
    yield url, environment
    process.kill()
    process.wait()


@pytest.fixture
def s3(s3_server, monkeypatch) -> str:
    """A new bucket."""
    url, environment = s3_server
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{secrets.token_hex(4)}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}"
