"""The loader of TensorFlow Serving, compiled once."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def cpp_loader(built_once):
    """The compiled load_saved_model.cc."""
    compiler, headers = shutil.which("g++"), Path(tf.sysconfig.get_include())
    if compiler is None or not (headers / "tensorflow/cc/saved_model/loader.h").is_file():
        pytest.skip("no g++, or a TensorFlow without its C++ headers")
    library = str(headers.parent)
    # Nothing calls the sessions and kernels of libtensorflow_cc by name: they register themselves when it is loaded.
    link = [
        "-Wl,--no-as-needed",
        f"-L{library}",
        "-l:libtensorflow_cc.so.2",
        "-l:libtensorflow_framework.so.2",
        f"-Wl,-rpath,{library}",
    ]
    source = Path(__file__).with_name("load_saved_model.cc")
    command = [compiler, "-O0", "-w", *tf.sysconfig.get_compile_flags(), str(source), *link, "-o", "load_saved_model"]

    def build(folder: Path) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]

    return built_once("cpp_loader", build) / "load_saved_model"


@pytest.fixture(scope="session")
def noises():
    """Two recordings at 16 kHz, the second the longer one."""
    rng = np.random.default_rng(5)
    return [rng.normal(scale=0.1, size=samples).astype(np.float32) for samples in (19_777, 26_000)]
