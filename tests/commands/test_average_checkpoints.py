"""python -m jasper_tf average-checkpoints, as a command."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jasper_tf.__main__ import main
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.run.average_checkpoints import average_checkpoints
from jasper_tf.training.run.checkpoint_manager import CheckpointManager, model_variables

REPOSITORY = Path(__file__).resolve().parents[2]


def command(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jasper_tf", "average-checkpoints", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def run_here(capsys):
    """The command in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        status = main(["average-checkpoints", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def assert_mean_of(model, paths, states=False) -> None:
    """In float64 here too; random states, which a file does not hold, are the newest's."""
    checkpoints = [np.load(path / "variables.npz") for path in paths]
    changing = {False: 0, True: 0}
    for key, variable in model_variables(model).items():
        values = [checkpoint[key] for checkpoint in checkpoints]
        floating = values[0].dtype.kind == "f"
        if floating or states:
            expected = np.mean(np.array(values, np.float64), axis=0).astype("float32") if floating else values[-1]
            np.testing.assert_array_equal(variable, expected, err_msg=key)
            changing[floating] += any((v != values[0]).any() for v in values)
    assert changing[True] > 10 and bool(changing[False]) == states


@pytest.mark.medium
def test_the_last(tiny_run, tmp_path):
    file = tmp_path / "mean.keras"
    done = command(tiny_run[1], "--output", file, "--last", "3")
    assert done.returncode == 0, done.stderr
    paths = CheckpointManager(tiny_run[1] / "checkpoints").paths()[-3:]
    assert [line.split()[-1] for line in done.stdout.splitlines()[:3]] == [p.name for p in paths]
    assert f"mean of 3 checkpoints: {file}" in done.stdout and f"evaluate --model {file}" in done.stdout
    assert_mean_of(load_model(file), paths)
    assert [p.name for p in tmp_path.iterdir()] == ["mean.keras"]


def test_the_best_all_and_named(tiny_run, tmp_path, run_here):
    folder = CheckpointManager(tiny_run[1] / "checkpoints")
    validated = [p for p in folder.paths() if "-val_wer=" in p.name]
    best = sorted(sorted(validated, key=lambda p: folder.read(p)[0].metrics["val_wer"])[:2])
    named = [folder.paths()[3], folder.paths()[0]]
    for arguments, paths in (
        (["--best", "2"], best),
        ([], folder.paths()),
        ([named[0].name, named[1]], sorted(named)),  # as names, or as paths
        ([named[0].name], named[:1]),
    ):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.keras"
        status, out, _ = run_here(tiny_run[1], "--output", file, *arguments)
        assert status == 0 and f"mean of {len(paths)} checkpoints" in out
        if len(paths) > 1:
            assert_mean_of(load_model(file), paths)


def test_random_states_are_the_newests(tiny_run):
    cfg, run, _ = tiny_run
    folder, model = CheckpointManager(run / "checkpoints"), build_model(cfg)
    average_checkpoints(model, folder, folder.paths()[:3][::-1], say=lambda _: None)
    assert_mean_of(model, folder.paths()[:3], states=True)


def test_wrong_use_is_one_line(tiny_run, tmp_path, run_here):
    run, file = tiny_run[1], tmp_path / "mean.keras"
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    newest = CheckpointManager(damaged / "checkpoints").paths()[-1]
    (newest / "variables.npz").write_bytes(b"torn")
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("checkpoints"))
    there = tmp_path / "there.keras"
    there.write_text("mine")
    sound = tmp_path / "sound.keras"
    shutil.copy(run / "model.keras", sound)
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in [
        ([run, "--output", tmp_path / "mean.h5"], ["mean.h5", "ends in .keras"]),
        ([run, "--output", there], ["there.keras: exists", "name another"]),
        ([run, "--output", there, "--overwrite"], ["there.keras: exists", "name another"]),
        ([run, "--output", sound], ["sound.keras: exists already", "--overwrite"]),
        ([run, "--output", tmp_path / "no" / "mean.keras"], ["no folder"]),
        ([tmp_path, "--output", file], ["give a run's folder"]),
        ([bare, "--output", file], ["no checkpoints"]),
        ([run, "--output", file, "--last", "10"], ["--last 10: this run has 9 to choose from; give 1 to 9"]),
        ([run, "--output", file, "--best", "0"], ["--best 0: this run has 3 to choose from", "save_top_k"]),
        ([run, "--output", file, "--last", "2", "step=00000002"], ["give either"]),
        ([run, "--output", file, "step=00000099"], ["step=00000099: not a checkpoint of this run", "step=00000002"]),
        ([run, "--output", file, "step=00000002", "step=00000002"], ["named twice"]),
        ([damaged, "--output", file], [newest.name, "damaged"]),
    ]:
        status, _, err = run_here(*arguments)
        assert status == 2, arguments
        assert err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err, (word, err)
    assert sorted(tmp_path.rglob("*")) == before and there.read_text() == "mine"


def test_overwrite_says_so(tiny_run, tmp_path, run_here):
    file = tmp_path / "mean.keras"
    shutil.copy(tiny_run[1] / "model.keras", file)
    before = file.read_bytes()
    assert run_here(tiny_run[1], "--output", file, "--last", "2")[0] == 2
    assert file.read_bytes() == before
    assert run_here(tiny_run[1], "--output", file, "--overwrite", "--last", "2")[0] == 0
    assert_mean_of(load_model(file), CheckpointManager(tiny_run[1] / "checkpoints").paths()[-2:])


def test_another_models_checkpoint(tiny_run, tmp_path, run_here):
    other = tmp_path / "other"
    shutil.copytree(tiny_run[1], other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("filters: 24", "filters: 32").replace("feat_in: 24", "feat_in: 32"))
    status, _, err = run_here(other, "--output", tmp_path / "mean.keras")
    assert status == 2 and "made for another model than the run's config.yaml describes" in err
