"""python -m jasper_tf tune: the trials are ordinary runs, alone, interrupted, continued, failing, and on workers."""

import contextlib
import csv
import io
import json
import operator
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from jasper_tf.__main__ import main
from jasper_tf.config import load_config
from jasper_tf.config.sections.tune_schema import load_tune_config
from jasper_tf.errors import DivergedError, UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.run_data import read_data
from jasper_tf.training.trainer import compile_model, train
from jasper_tf.tuning.results import Outcome, Results
from jasper_tf.tuning.search import Search
from jasper_tf.tuning.search_space import SearchSpace
from jasper_tf.tuning.trial_run import TrialError, TrialRun, best_value, full_length_overrides

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_tune(file: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return start("-m", "jasper_tf", "tune", str(file), *arguments, **environment)


def read_results(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))


def same_weights(a: Path, b: Path) -> None:
    for one, other in zip(load_model(a).weights, load_model(b).weights, strict=True):
        np.testing.assert_array_equal(one, other)


def without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "seconds": "", "command": ""} for row in rows]


@pytest.fixture(scope="module")
def finished(write_tune, built_once):
    """A finished search, not to be changed, that left no file open: its file, its folder, what it printed."""

    def build(folder: Path) -> None:
        file = write_tune(folder)
        with open(folder / "printed", "w") as printed, contextlib.redirect_stdout(printed):
            assert main(["tune", str(file)]) == 0
        links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
        held = [os.readlink(link) for link in links if os.path.exists(link)]
        assert not [name for name in held if name.startswith(f"{folder}/")]

    folder = built_once("tune", build)
    return folder / "tune.yaml", folder / "search", (folder / "printed").read_text()


def test_what_a_search_leaves(finished):
    file, folder, printed = finished
    rows = read_results(folder)
    assert [row["status"] for row in rows] == ["completed", "completed", "failed"]
    values = [float(row["val_wer"]) for row in rows[:2]]
    assert values == sorted(values) and rows[2]["val_wer"] == ""
    assert "dilation: stride and dilation cannot both be above 1" in rows[2]["reason"]
    runs = {row["trial"] for row in rows[:2]}
    assert {p.name for p in folder.iterdir()} == {"oracle", "results.csv", "hparams", "search.yaml", *runs}
    for row in rows[:2]:
        run = folder / row["trial"]
        names = {p.name for p in run.iterdir()}
        assert {"config.yaml", "log.txt", "metrics.csv", "checkpoints", "model.keras"} <= names
        cfg = load_config(run / "config.yaml")
        assert float(row["model.optim.lr"]) == cfg.model.optim.lr and cfg.trainer.max_epochs == 1
        assert {block.dropout for block in cfg.model.encoder.jasper} == {float(row["model.encoder.jasper.*.dropout"])}
    assert len({row["model.optim.lr"] for row in rows}) == 3
    for line in (
        "trial_0000, of 3 trials: model.optim.lr=0.0",
        "failed: the values contradict each other: ",
        "search: 3 of 3 trials done, 1 failed; best val_wer ",
        "the best configuration in full:\n  " + rows[0]["command"],
    ):
        assert line in printed
    table = printed[printed.index("\ntrial ") :].splitlines()[1:5]
    assert table[0].split() == ["trial", "val_wer", "epochs", "time", "lr", "dropout", "filters", "dilation"]
    assert [line.split()[0] for line in table[1:]] == [row["trial"] for row in rows]


def test_the_command_trains_in_full(finished):
    rows = read_results(finished[1])
    *program, verb, config = shlex.split(rows[0]["command"])[:5]
    cfg = load_config(config, shlex.split(rows[0]["command"])[5:])
    assert (program, verb, cfg.trainer.max_epochs) == (["python", "-m", "jasper_tf"], "train", 2)
    assert cfg.exp_manager.name == f"tiny_{rows[0]['trial']}"
    assert cfg.model.optim.lr == float(rows[0]["model.optim.lr"])


def test_tensorboard_has_each_trial(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import api_pb2, metadata

    _, folder, _ = finished
    keys = [f"model.{k}" for k in ("optim.lr", "encoder.jasper.*.dropout", "encoder.jasper.1.filters")]

    def content(path):
        events = EventAccumulator(str(path)).Reload()
        data = events.summary_metadata
        return (
            events,
            {
                tag: metadata.parse_session_start_info_plugin_data(data[tag].plugin_data.content)
                for tag in data
                if tag == metadata.SESSION_START_INFO_TAG
            },
            {
                tag: metadata.parse_session_end_info_plugin_data(data[tag].plugin_data.content)
                for tag in data
                if tag == metadata.SESSION_END_INFO_TAG
            },
        )

    assert metadata.EXPERIMENT_TAG in EventAccumulator(str(folder / "hparams")).Reload().summary_metadata
    for row in read_results(folder):
        events, begin, end = content(folder / "hparams" / row["trial"])
        values = begin[metadata.SESSION_START_INFO_TAG].hparams
        for key in keys:
            assert values[key].number_value == pytest.approx(float(row[key]))
        assert values["model.encoder.jasper.0.dilation"].string_value == row["model.encoder.jasper.0.dilation"]
        status = end[metadata.SESSION_END_INFO_TAG].status
        if row["status"] == "completed":
            assert status == api_pb2.STATUS_SUCCESS
            (value,) = tf.make_ndarray(events.Tensors("best/val_wer")[0].tensor_proto).reshape(-1)
            assert value == pytest.approx(float(row["val_wer"]))
        else:
            assert status == api_pb2.STATUS_FAILURE


def test_started_again_nothing_is_repeated_and_more_trials_go_on(finished, tmp_path, capsys):
    file, folder, _ = finished
    again = tmp_path / "search"
    shutil.copytree(folder, again)
    before = {p: p.stat().st_mtime_ns for p in again.glob("trial_*/**/*")}
    assert main(["tune", str(file), f"tune.output={again}"]) == 0
    assert {p: p.stat().st_mtime_ns for p in again.glob("trial_*/**/*")} == before
    assert read_results(again) == read_results(folder)
    assert "search: 3 of 3 trials done, 1 failed" in capsys.readouterr().out
    assert main(["tune", str(file), f"tune.output={again}", "tune.max_trials=4"]) == 0
    assert {p: p.stat().st_mtime_ns for p in before if p.is_file()}.items() <= before.items()
    rows = read_results(again)
    assert len(rows) == 4 and len({row["model.optim.lr"] for row in rows}) == 4
    capsys.readouterr()
    for change, words in (
        ("tune.seed=2", "search.seed=28, now it is 2"),
        ("model.optim.weight_decay=0.1", "configuration.model.optim.weight_decay=0.001, now it is 0.1"),
    ):
        assert main(["tune", str(file), f"tune.output={again}", change]) == 2
        out, err = capsys.readouterr()
        assert words in err and err.count("\n") == 1 and out == ""


@pytest.mark.slow
def test_a_trial_is_its_configuration_trained_alone(finished, tmp_path):
    """The trial that came after others in their process, and train.py in a new one."""
    _, folder, _ = finished
    last = max(row["trial"] for row in read_results(folder) if row["status"] == "completed")
    assert last != "trial_0000"
    process = start("train.py", str(folder / last / "config.yaml"), f"exp_manager.exp_dir={tmp_path}")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    same_weights(folder / last, tmp_path / last)
    assert best_value(folder / last, "val_wer") == best_value(tmp_path / last, "val_wer")


@pytest.mark.slow
def test_stopped_inside_a_trial_it_ends_as_if_it_had_not_been(finished, tmp_path):
    """By SIGTERM; the worker below dies of SIGKILL."""
    file, folder, _ = finished
    again = tmp_path / "search"
    process = start_tune(file, f"tune.output={again}")
    while not list(again.glob("trial_*/checkpoints/step=00000002")) and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 143 and "stopped; the same command resumes" in output, output
    assert [row["status"] for row in read_results(again)] == ["running"]
    process = start_tune(file, f"tune.output={again}")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "resuming at epoch " in output, output
    assert without_times(read_results(again)) == without_times(read_results(folder))
    for row in read_results(again)[:2]:
        same_weights(again / row["trial"], folder / row["trial"])


@pytest.mark.slow
def test_hyperband_goes_on_from_the_trial_before(write_tune, tmp_path, capsys):
    space = {"model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05, "sampling": "log"}}
    file = write_tune(tmp_path, tuner="hyperband", max_trials=None, max_epochs=2, factor=2, space=space)
    searched = SearchSpace(load_tune_config(file))
    first = TrialRun(searched, "0", {"model.optim.lr": 0.01, "tuner/epochs": 1, "tuner/initial_epoch": 0})
    chosen = {"model.optim.lr": 0.01, "tuner/epochs": 2, "tuner/initial_epoch": 1, "tuner/trial_id": "0"}
    second = TrialRun(searched, "7", chosen)
    assert (second.name, second.continues, second.epochs, second.new_epochs) == ("trial_0007", "trial_0000", 2, 1)
    values = [first.train(), second.train()]
    assert capsys.readouterr().out.count("resuming at epoch 2, step 6") == 1
    run = tmp_path / "search" / "trial_0007"
    # In one go, from the start: the same.
    cfg = load_config(run / "config.yaml", [f"exp_manager.exp_dir={tmp_path}"])
    assert (cfg.trainer.max_epochs, cfg.model.optim.sched.max_steps) == (2, 12)
    alone = train(cfg)
    same_weights(alone, run)
    assert best_value(alone, "val_wer") == values[1] <= values[0]
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (alone, run)]
    assert len(rows[0]) == len(rows[1])
    for one, other in zip(*rows, strict=True):
        steady = [key for key in one if not key.endswith(("_per_s", "mfu"))]
        assert [one[key] for key in steady] == [other[key] for key in steady]


@pytest.mark.slow
def test_a_mistake_that_hits_every_trial_stops_at_the_first(write_tune, tiny_config, tmp_path, capsys):
    """A recording that cannot be decoded; put right, the same command goes on."""
    manifest = Path(tiny_config().model.train_ds.manifest_filepath)
    lines = manifest.read_text().splitlines()[:4]
    sound = Path(json.loads(lines[0])["audio_filepath"])
    (tmp_path / "sound.wav").write_bytes(b"RIFF no sound")
    lines[0] = json.dumps({**json.loads(lines[0]), "audio_filepath": "sound.wav"})
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    space = {"model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05}}
    file = write_tune(tmp_path, space=space, max_trials=2)
    command = ["tune", str(file), f"model.train_ds.manifest_filepath={tmp_path}/train.jsonl"]
    command.append("model.optim.sched.warmup_steps=0")
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert f"error: {tmp_path}/sound.wav: cannot be decoded" in err and err.count("\n") == 1
    assert "trial_0001" not in out
    shutil.copy(sound, tmp_path / "sound.wav")
    assert main([*command, "tune.max_trials=1"]) == 0
    assert [row["status"] for row in read_results(tmp_path / "search")] == ["completed"]


def test_what_the_base_lacks_is_named(write_tune, tmp_path):
    file = write_tune(tmp_path, overrides=["model.validation_ds=null"])
    with pytest.raises(UserError, match="no value for model.validation_ds.manifest_filepath"):
        Search(load_tune_config(file))
    for assignment, words in (
        ("trainer.enable_checkpointing=false", "a search needs checkpoints"),
        ("model.train_ds.manifest_filepath=no.jsonl", "no.jsonl"),
        ("trainer.devices=64", "trainer.devices"),
        ("trainer.num_nodes=2", "trainer.num_nodes: a trial runs on one machine"),
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run: not possible in a search"),
        ("tune.objective=val_wer_ema", "val_wer_ema is of averaged weights; switch them on"),
        (f"tune.output={file.parent}", "not the folder of a search"),
    ):
        with pytest.raises(UserError, match=words):
            Search(load_tune_config(write_tune(tmp_path), [assignment]))
    assert yaml.safe_load(file.read_text()) and [p.name for p in tmp_path.iterdir()] == ["tune.yaml"]


def trial_run(write_tune, folder, space, chosen, *assignments) -> TrialRun:
    tune = load_tune_config(write_tune(folder, space=space), assignments)
    return TrialRun(Search(tune).space, "0", chosen)


def test_a_trial_s_own_reasons_end_the_trial_only(write_tune, tmp_path):
    """Model, data and schedule refuse the trial's value and not the configuration's own."""
    for key, low, high, words in (
        ("model.encoder.jasper.1.groups", 2, 7, "groups 7: does not divide"),
        ("model.train_ds.max_duration", 1, 0.001, "no utterance is left to use"),
        ("model.optim.sched.warmup_steps", 1, 99, "leaves no step to anneal after warmup_steps 99"),
    ):
        space = {key: {"type": "choice", "values": [low, high]}}
        run = trial_run(write_tune, tmp_path, space, {key: json.dumps(high)}, f"tune.output={tmp_path}/{key}")
        with pytest.raises(TrialError, match=words):
            run.train()


def test_what_is_longer_than_a_trial_is_shortened(write_tune, tmp_path, capsys):
    """The warm-up and the distance of validations, in a trial of one epoch of 6 steps.

    A warm-up gets its share of the configuration's own 12 steps, or a tenth if it is longer than these as well.
    """
    space = {"model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05}}

    def run_of(warmup: int, every: int) -> TrialRun:
        settings = [f"model.optim.sched.warmup_steps={warmup}", f"trainer.check_val_every_n_epoch={every}"]
        settings.append(f"tune.output={tmp_path}/{warmup}")
        return trial_run(write_tune, tmp_path, space, {"model.optim.lr": 0.01}, *settings)

    for given, warmup in ((5, 5), (50, 0)):
        cfg = run_of(given, 1).config()
        assert (cfg.model.optim.sched.warmup_steps, cfg.trainer.check_val_every_n_epoch) == (warmup, 1)
    run_of(9, 3).train()
    out = capsys.readouterr().out
    assert "warmup_steps=4 in place of 9" in out and "check_val_every_n_epoch=1 in place of 3" in out
    written = yaml.safe_load((tmp_path / "9" / "trial_0000" / "config.yaml").read_text())
    assert written["model"]["optim"]["sched"]["warmup_steps"] == 4
    assert written["trainer"]["check_val_every_n_epoch"] == 1


@pytest.mark.parametrize(("given", "warmup"), [(5, 5), (11, 11), (12, 1), (50, 1)])
def test_the_command_has_a_warm_up_that_fits(write_tune, tmp_path, given, warmup):
    """Of the configuration's 12 steps, not of a trial's 6."""
    space = {"model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05}}
    file = write_tune(tmp_path, space=space, max_trials=1)
    searched = SearchSpace(load_tune_config(file, [f"model.optim.sched.warmup_steps={given}"]))
    results = Results(searched, tmp_path, "tiny")
    outcome = Outcome(name="trial_0000", status="completed", values={"model.optim.lr": 0.01})
    command = shlex.split(results.command(outcome))
    cfg = load_config(command[4], command[5:])
    assert (cfg.model.optim.sched.warmup_steps, cfg.trainer.max_epochs) == (warmup, 2)
    data = read_data(cfg, 1)
    compile_model(build_model(cfg), cfg, data.total_steps, data.training.steps_per_epoch)


def test_a_configuration_without_a_length_gets_that_of_a_trial(write_tune, tmp_path):
    values = yaml.safe_load(write_tune(tmp_path).read_text())
    base = yaml.safe_load(Path(values["config"]).read_text())
    del base["trainer"]["max_epochs"]
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    searched = SearchSpace(load_tune_config(write_tune(tmp_path, config=str(tmp_path / "base.yaml"))))
    assert full_length_overrides(searched, {}) == ["trainer.max_epochs=1"]


def test_a_configuration_that_cannot_be_built_is_an_error_of_the_search(write_tune, tmp_path):
    space = {"model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05}}
    broken = "model.encoder.jasper.1.groups=7"
    with pytest.raises(UserError, match="groups 7: does not divide 16"):
        trial_run(write_tune, tmp_path, space, {"model.optim.lr": 0.01}, broken).train()


def test_a_diverged_run_has_no_value(tiny_run, tmp_path):
    metrics = (tiny_run[1] / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(metrics)
    rows = list(csv.DictReader(io.StringIO(metrics)))
    values = [float(row["val_wer"]) for row in rows if row["val_wer"]]
    assert best_value(tmp_path, "val_wer") == min(values) and len(values) == 3
    number = next(i for i, row in enumerate(rows) if row["loss"])
    lines = metrics.splitlines()
    lines[number + 1] = lines[number + 1].replace(rows[number]["loss"], "nan")
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    with pytest.raises(TrialError, match=f"diverged: the loss is nan at step {rows[number]['step']}"):
        best_value(tmp_path, "val_wer")
    assert issubclass(DivergedError, UserError)


def test_trials_that_all_fail_alike_stop_the_search(write_tune, tmp_path, capsys):
    space = {
        "model.optim.lr": {"type": "float", "min": 0.01, "max": 0.02},
        "model.encoder.jasper.0.dilation": {"type": "choice", "values": [[2], [3]]},
    }
    assert main(["tune", str(write_tune(tmp_path, space=space, max_trials=9))]) == 2
    out, err = capsys.readouterr()
    assert "the first 3 trials all failed alike: the values contradict each other: " in err and err.count("\n") == 1
    assert [row["status"] for row in read_results(tmp_path / "search")] == ["failed"] * 3
    assert out.count("trial_0002  failed") == 1


def test_wrong_use_is_one_line(write_tune, tmp_path, capsys):
    file = write_tune(tmp_path, space={"model.optim.lrr": {"type": "float", "min": 0, "max": 1}})
    assert main(["tune", str(file)]) == 2
    out, line = capsys.readouterr()
    assert out == "" and line.count("\n") == 1
    assert line.startswith(f"error: {file}:") and "nearest known key: model.optim.lr" in line
    assert not (tmp_path / "search").exists()


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.mark.slow
def test_a_chief_and_two_workers_of_which_one_dies(finished, tmp_path):
    """The same trials as one process, to the last digit; the dead worker's is trained by the other."""
    file, folder, _ = finished
    again = tmp_path / "search"
    place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": free_port(), "NO_PROXY": "127.0.0.1"}
    # Started together: on a loaded machine one that is started later is waited for longer than the timeout.
    settings = [f"tune.output={again}", "tune.worker_timeout_s=20"]
    names = ("chief", "worker0", "worker1")
    started = {name: start_tune(file, *settings, **place, KERASTUNER_TUNER_ID=name) for name in names}
    try:
        while not (begun := list(again.glob("trial_*/checkpoints/step=00000002"))):
            assert all(process.poll() is None for process in started.values())
            time.sleep(0.005)
        trial = begun[0].parents[1]
        holder = int((trial / "run.lock").read_text().split()[1])
        [victim] = [name for name, process in started.items() if process.pid == holder]
        started[victim].kill()
        output, _ = started[victim].communicate()
        assert started[victim].returncode == -signal.SIGKILL, output
        [survivor] = {"worker0", "worker1"} - {victim}
        output, _ = started[survivor].communicate(timeout=900)
        assert started[survivor].returncode == 0 and "no more trials; the chief has the results" in output, output
        output, _ = started["chief"].communicate(timeout=300)
    finally:
        for process in started.values():
            if process.poll() is None:
                process.kill()
                process.communicate()
    given = f"worker {victim} is lost; its trial {int(trial.name[-4:])} is given to another"
    assert started["chief"].returncode == 0 and given in output, output
    assert "search: 3 of 3 trials done, 1 failed" in output and "the best configuration in full" in output
    key = operator.itemgetter("trial")
    rows, expected = (sorted(without_times(read_results(f)), key=key) for f in (again, folder))
    for row, wanted in zip(rows, expected, strict=True):
        assert {**row, "reason": ""} == {**wanted, "reason": ""}
        if row["status"] == "completed":
            same_weights(again / row["trial"], folder / row["trial"])


@pytest.mark.slow
def test_a_worker_without_a_chief_and_a_chief_without_workers_end(finished, tmp_path):
    file, *_ = finished
    place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": free_port(), "NO_PROXY": "127.0.0.1"}
    settings = [f"tune.output={tmp_path / 'search'}", "tune.worker_timeout_s=1"]
    for name, words in (
        ("worker0", f"error: the chief at 127.0.0.1:{place['KERASTUNER_ORACLE_PORT']} does not answer"),
        ("chief", "error: no worker was heard for 1 s"),
    ):
        process = start_tune(file, *settings, **place, KERASTUNER_TUNER_ID=name)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 2 and words in output and "Traceback" not in output, output


def test_the_three_variables_belong_together(finished, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    assert main(["tune", str(finished[0])]) == 2
    assert "KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT not set" in capsys.readouterr().err


def test_the_search_s_record_is_yaml(finished):
    record = yaml.safe_load((finished[1] / "search.yaml").read_text())
    assert record["search"]["space"]["model.optim.lr"]["sampling"] == "log"
    assert record["configuration"]["name"] == "tiny"


@pytest.mark.slow
def test_a_recording_that_cannot_be_read_ends_the_search(write_tune, tiny_config, tmp_path):
    lines = Path(tiny_config().model.validation_ds.manifest_filepath).read_text().splitlines()
    (tmp_path / "text.wav").write_text("This is text, not sound.\n")
    manifest = tmp_path / "dev.jsonl"
    manifest.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"audio_filepath": "text.wav"}), *lines[1:]]))
    settings = [f"model.validation_ds.manifest_filepath={manifest}", "exp_manager.create_tensorboard_logger=false"]
    process = start_tune(write_tune(tmp_path, overrides=settings))
    try:
        line = next((line for line in process.stdout if line.startswith("error: ")), "")
        assert process.wait(10) == 1 and "text.wav: cannot be decoded" in line
    finally:
        process.kill()
        process.communicate()
