"""`python -m jasper_tf doctor`: checks packages, devices and audio decoders."""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jasper_tf.io.environment import package_version

if TYPE_CHECKING:
    import numpy as np

HELP = "print versions, extras, devices and the live audio decoders; exit status 1 if something needed does not work"

PACKAGES = ("tensorflow", "keras", "keras-tuner", "numpy", "tensorboard", "soundfile", "soxr")
EXTRAS = {  # a package of each, and what it brings
    "beam": ("apache-beam", "Apache Beam's runners: --runner"),
    "cloud": ("fsspec", "object storage: s3://, gs://, az://, hdfs://"),
    "cuda": ("nvidia-cudnn-cu12", "NVIDIA's libraries, to train on a GPU"),
    "demo": ("espeakng-loader", "synthesized speech: make-demo-corpus"),
    "dev": ("pytest", "the tests and linters of this package"),
    "docs": ("mkdocs-material", "the documentation as web pages"),
    "formats": ("av", "m4a, mp4, webm and other formats of FFmpeg"),
    "litert": ("ai-edge-litert", "LiteRT models: .tflite"),
    "lm": ("kenlm", "language models in KenLM's binary format"),
    "microphone": ("sounddevice", "a microphone for transcribe --live"),
    "notebook": ("jupyterlab", "JupyterLab, to run the notebooks"),
    "onnx": ("onnxruntime", "ONNX models, and the page of export --format web"),
    "server": ("uvicorn", "the live server: serve"),
}
_WORTH_IT = 0.85
"""A share of float32's time below which bfloat16 is recommended."""

FORMATS = {  # how soundfile names them
    "WAV": {"format": "WAV"},
    "FLAC": {"format": "FLAC"},
    "OGG": {"format": "OGG"},
    "MP3": {"format": "MP3"},
    "Opus": {"format": "OGG", "subtype": "OPUS"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "It decodes a short tone in each format."


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; returns 0 if everything that is needed works, else 1."""
    troubles: list[str] = []
    _line("python", f"{platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        version = package_version(package)
        _line(package, version or "MISSING")
        if version is None:
            troubles.append(f"{package} is not installed: pip install {package}")
    absent = "has no wheels for this Python" if sys.version_info >= (3, 13) else "not installed"
    _line("tensorflow-io", package_version("tensorflow-io") or f"{absent}; soundfile reads WAV in its place")
    for extra, (package, brings) in EXTRAS.items():
        version = package_version(package)
        missing = f"not installed; brings {brings}: pip install 'jasper-tf[{extra}]'"
        _line(f"extra {extra}", missing if version is None else f"{package} {version}: {brings}")
    # Each imports its libraries in its function: a broken one is reported.
    for name, check in (("tensorflow", _report_devices), ("audio", _report_audio)):
        try:
            troubles += check()
        except (ImportError, OSError) as error:
            troubles.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
    for trouble in troubles:
        _line("TROUBLE", trouble)
    if not troubles:
        _line("verdict", "everything needed works")
    return 1 if troubles else 0


def _line(name: str, finding: str) -> None:
    print(f"{name:<37} {finding}")


def _report_devices() -> list[str]:
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen != "tensorflow":
        return [f"KERAS_BACKEND={chosen}: unset it or set it to tensorflow"]
    import keras
    import tensorflow as tf

    _line("keras backend", keras.config.backend())
    _line("floats", f"{keras.config.floatx()}, policy {keras.config.dtype_policy().name}")
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        described = ", ".join(f"{key} {value}" for key, value in details.items())
        _line(device.device_type, f"{device.name} {described}".rstrip())
    if not tf.config.list_physical_devices("GPU"):
        built = tf.test.is_built_with_cuda()
        _line("GPU", "none seen" + ("" if built else "; this TensorFlow is built for the CPU only"))
    share = _bf16_time()
    advice = "train with" if share < _WORTH_IT else "slower, or hardly faster: do not train with"
    _line("bf16-mixed", f"a convolution takes {share:.2f} of float32's time; {advice} trainer.precision=bf16-mixed")
    if keras.config.backend() != "tensorflow":
        return [f"the Keras backend is {keras.config.backend()}: set it to tensorflow in keras.json"]
    return []


def _bf16_time() -> float:
    """Time of a convolution in bfloat16 as a share of that in float32, on the device that training uses."""
    import tensorflow as tf

    times = []
    for kind in (tf.float32, tf.bfloat16):
        x, kernel = tf.ones((4, 200, 256), kind), tf.ones((11, 256, 256), kind)
        laps = []
        for _ in range(6):
            began = time.perf_counter()
            float(tf.reduce_sum(tf.nn.conv1d(x, kernel, 1, "SAME")))
            laps.append(time.perf_counter() - began)
        times.append(min(laps))
    return times[1] / times[0]


def _report_audio() -> list[str]:
    """Decodes a tone in each format as training does, in Python and in a tf.data graph."""
    import numpy as np
    import soundfile
    import tensorflow as tf

    from jasper_tf.audio.in_graph import is_graph_decodable, live_decoders
    from jasper_tf.audio.load import load_audio

    for kind, decoder in live_decoders().items():
        _line(kind, decoder)
    troubles = []
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for kind, written_as in FORMATS.items():
            path = Path(folder) / f"tone.{kind.lower()}"
            in_graph = False
            try:
                soundfile.write(path, tone, 16000, **written_as)
                in_graph = is_graph_decodable(path, 16000)
                readings = {"load_audio": load_audio(path), "tf.data": _read_by_tf_data(path, in_graph)}
            except (ValueError, soundfile.SoundFileError, tf.errors.OpError) as error:
                troubles.append(f"{kind} cannot be read: {str(error).splitlines()[0]}")
                continue
            for reader, audio in readings.items():
                # MP3 delays the audio but keeps the peak of its spectrum.
                peak_hz = int(np.abs(np.fft.rfft(audio, 16000)).argmax()) if len(audio) else 0
                if peak_hz != 440:
                    troubles.append(f"{kind} through {reader}: a tone of 440 Hz was decoded to {peak_hz} Hz")
            _line(f"{kind} tried", "in the graph and in Python" if in_graph else "in Python")
    return troubles


def _read_by_tf_data(path: Path, in_graph: bool) -> "np.ndarray":
    import tensorflow as tf

    from jasper_tf.audio.in_graph import load_audio_in_graph

    def read(file: tf.Tensor) -> tf.Tensor:
        zero = tf.constant(0.0, tf.float64)
        return load_audio_in_graph(file, zero, zero, tf.constant(in_graph), 16000)

    return tf.data.Dataset.from_tensors(str(path)).map(read).get_single_element().numpy()
