"""The package as others install it: names, files of the wheel, the workflow."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import jasper_tf

REPOSITORY = Path(__file__).parents[1]


def test_completion_shows_the_names_that_load_late():
    assert set(jasper_tf.__all__) <= set(dir(jasper_tf)) and "__version__" in dir(jasper_tf)
    code = "import sys, jasper_tf; dir(jasper_tf); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_the_workflow_tests_both_ends_on_the_supported_pythons():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    files = {path.name for path in (REPOSITORY / ".ci").glob("constraints-tf*.txt")}
    assert {entry["constraints"] for entry in matrix} == files
    required = re.search(r'requires-python = ">=3\.(\d+)\.\d+,<3\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert {entry["python"] for entry in matrix} == {f"3.{minor}" for minor in range(*map(int, required.groups()))}
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == ["make lint", "make test", "make docs"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`installed(command, ...)`: runs a program of an environment that has the wheel, but no checkout."""
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):  # the build leaves files in its folder
        file = REPOSITORY / name
        if name.startswith(("jasper_tf/", "configs/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if file.is_symlink():
                (source / name).symlink_to(file.readlink())
            else:
                (source / name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    packages = folder / "env" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    python = str(folder / "env" / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # What the package needs comes from the environment of the tests, whose own jasper_tf comes later on the path.
    (packages / "needed.pth").write_text(f"{importlib.metadata.distribution('numpy').locate_file('')}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def installed(program: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(folder / "env" / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    work = folder / "work"
    work.mkdir()
    return installed


@pytest.mark.slow
def test_the_wheel_trains_exports_and_transcribes_without_a_checkout(installed):
    where = installed("python", "-c", "import jasper_tf, pathlib; print(pathlib.Path(jasper_tf.__file__).parent)")
    package = Path(where.stdout.strip())
    assert "env" in package.parts and (package / "py.typed").is_file()
    assert (package / "configs/serving/models.config").is_file()
    assert (package / "serving/http/page/index.html").is_file()
    assert (package / "serving/http/page/drawing/posterior.js").is_file()
    assert (package / "export/web/page/recognizer.js").is_file()
    assert (package / "export/web/onnxruntime_license.txt").is_file()
    assert installed("jasper-tf", "--version").stdout == f"jasper-tf {jasper_tf.__version__}\n"
    assert installed("jasper-tf", "train", "-h").stdout.startswith("usage: jasper-tf train ")
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "model.optim.sched.warmup_steps=1"]
    corpus = ["--train", "16", "--dev", "4", "--test", "2"]
    installed("jasper-tf", "make-demo-corpus", "--output", "build/demo", *corpus)
    trained = installed("jasper-tf", "train", "demo.yaml", *short)
    assert str(package / "configs" / "demo.yaml") in trained.stderr
    assert trained.stdout.splitlines()[-1].startswith("next: jasper-tf evaluate --model runs/demo")
    exported = installed("jasper-tf", "export", "runs/demo", "--output", "serving/demo")
    assert exported.stdout.splitlines()[-1] == "serving/demo/1"
    about = json.loads((Path(package).parents[4] / "work/serving/demo/1/assets.extra/model.json").read_text())
    assert about["jasper_tf"] == jasper_tf.__version__ and about["git_revision"] is None
    sound = "build/demo/wav/test/00000.wav"
    for model in ("runs/demo", "serving/demo"):
        assert installed("jasper-tf", "transcribe", "--model", model, sound).stdout.startswith(sound)
