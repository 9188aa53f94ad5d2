"""configs/cluster as it is: the variables and commands of a JobSet and of a Slurm job, as processes on loopback."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import load_config
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.io.object_storage import list_remote, upload
from jasper_tf.io.working_copy import WorkingCopy
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "configs" / "cluster"
PROGRAM = [sys.executable, "-m", "jasper_tf"]
OURS = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}

SRUN = """#!{python}
# Starts the tasks of a step as Slurm does; with --kill-on-bad-exit the first that fails ends them all.
import os, subprocess, sys, time
from pathlib import Path
tasks = int(os.environ["SLURM_JOB_NUM_NODES"])
command = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
assert "--kill-on-bad-exit=1" in sys.argv
step = {{"SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NODELIST": "localhost",
         "SLURM_STEP_TASKS_PER_NODE": str(tasks)}}
running = []
for rank in range(tasks):
    running.append(subprocess.Popen(command, env=os.environ | step | {{"SLURM_PROCID": str(rank)}}))
    Path(os.environ["PIDS"], f"{{rank}}-{{running[-1].pid}}").touch()
while all(task.poll() in (None, 0) for task in running) and any(task.poll() is None for task in running):
    time.sleep(0.05)
status = max(abs(task.poll() or 0) for task in running)
for task in running:
    task.kill()
    task.wait()
sys.exit(status)
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """`alone(file, settings)`: the run of one undisturbed process, trained once for both tests."""
    runs: list[Path] = []

    def trained(file: Path, settings: list[str]) -> Path:
        if not runs:
            folder = tmp_path_factory.mktemp("alone")
            runs.append(train(load_config(file, [*settings, f"exp_manager.exp_dir={folder}"])))
        return runs[0]

    return trained


def free_tens() -> int:
    """A number whose ten successors by a further digit are free ports."""
    for tens in range(2000, 6000):
        try:
            for digit in range(4):
                socket.create_server(("127.0.0.1", 10 * tens + digit)).close()
            return tens
        except OSError:
            continue
    raise AssertionError("no free ports")


def test_a_job_set_goes_on_when_a_pod_is_replaced(s3, tiny_file, certain, alone, assert_close_runs, tmp_path):
    """Four workers, run and shards in a bucket; what differs from the file: addresses, bucket, size of the training."""
    settings = [*certain, "trainer.max_epochs=3"]
    manifest = next(one for one in certain if "train_ds.manifest" in one).split("=")[1]
    write_shards(manifest, tmp_path / "shards", ShardSettings(), workers=2)
    for file in (tmp_path / "shards").iterdir():
        upload(file, f"{s3}/shards/{file.name}")
    one = load_config(tiny_file, settings)
    lines = [json.loads(line) for line in Path(one.model.validation_ds.manifest_filepath).read_text().splitlines()]
    (tmp_path / "dev.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    upload(tmp_path / "dev.json", f"{s3}/dev.json")

    job = yaml.safe_load((CLUSTER / "jobset.yaml").read_text())["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert (
        job["completions"] == job["parallelism"] == 4 and "jasper-workers-0-{index}.jasper:2222" in variables.values()
    )
    variables["JASPER_WORKERS"] = f"127.0.0.1:{free_tens()}{{index}}"
    program, verb, configuration = container["command"]
    assert (program, verb, configuration) == ("jasper-tf", "train", "jasper.yaml")
    arguments = [one.replace("s3://bucket", s3) for one in container["args"]]
    arguments = [one.replace("every_n_train_steps=1000", "every_n_train_steps=2") for one in arguments]
    arguments += [one for one in settings if "train_ds.manifest" not in one]
    arguments += ["model.train_ds.batch_size=1", "model.validation_ds.batch_size=1"]

    printed = [tmp_path / f"pod_{index}.txt" for index in range(4)]

    def pod(index: int) -> subprocess.Popen:
        # Into a file: a pipe that nobody reads would stop it when it is full.
        with open(printed[index], "a") as output:
            return subprocess.Popen(
                [*PROGRAM, verb, str(tiny_file), *arguments],
                env={**os.environ, **OURS, **variables, "JOB_COMPLETION_INDEX": str(index)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    pods = [pod(index) for index in range(4)]
    try:
        run = f"{s3}/runs/tiny"
        while not any(name.endswith("position.json") for name in list_remote(f"{run}/checkpoints")):
            assert pods[0].poll() is None, printed[0].read_text()
            time.sleep(0.2)
        pods[2].kill()
        pods[2].wait()
        pods[2] = pod(2)
        until = time.monotonic() + 400
        kept_at_first_end = None
        while {None} <= {process.poll() for process in pods} <= {None, 0} and time.monotonic() < until:
            if kept_at_first_end is None and any(process.poll() == 0 for process in pods):
                kept_at_first_end = list_remote(run)
            time.sleep(0.02)
    finally:
        statuses = [process.poll() for process in pods]  # None: it did not end
        for process in pods:
            process.kill()
            process.wait()
        outputs = [file.read_text() for file in printed]
        for index, (status, output) in enumerate(zip(statuses, outputs, strict=True)):
            print(f"pod {index}, status {status}: ...{output[-3000:]}")
    assert statuses == [0] * 4
    # A machine that is lost while it saves must find the others, not wait for what they have left.
    assert kept_at_first_end in (None, list_remote(run))  # None: all ended in the same moment
    assert "another machine of this job is gone" in outputs[0] and "restarting from the last checkpoint" in outputs[0]
    assert "resuming at epoch" in outputs[0]
    with WorkingCopy(run, "position.json", "checkpoints") as copy:
        copy.download()
        assert_close_runs(alone(tiny_file, settings), copy.path)


def test_a_slurm_job_starts_its_step_again(tiny_file, certain, alone, assert_close_runs, tmp_path):
    programs, pids = tmp_path / "programs", tmp_path / "pids"
    programs.mkdir()
    pids.mkdir()
    for name, text in {
        "srun": SRUN.format(python=sys.executable),
        "jasper-tf": f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    settings = [*certain, "trainer.max_epochs=3"]
    several = [
        f"exp_manager.exp_dir={tmp_path}",
        "exp_manager.name=several",
        "model.train_ds.batch_size=2",
        "model.validation_ds.batch_size=2",
    ]
    job = subprocess.Popen(
        [str(CLUSTER / "slurm.sh"), str(tiny_file), *settings, *several],
        env={
            **os.environ,
            **OURS,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PIDS": str(pids),
            "SLURM_JOB_NUM_NODES": "2",
            "JASPER_RESTART_WAIT_S": "0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        checkpoints = tmp_path / "several" / "checkpoints"
        while not (checkpoints.is_dir() and any(checkpoints.glob("step=*"))):
            assert job.poll() is None, job.communicate()[0]
            time.sleep(0.1)
        (second,) = pids.glob("1-*")
        os.kill(int(second.name.split("-")[1]), signal.SIGKILL)
        output = job.communicate(timeout=400)[0]
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 0, output
    assert "step ended with status" in output and "resuming at epoch" in output
    assert_close_runs(alone(tiny_file, settings), tmp_path / "several")
