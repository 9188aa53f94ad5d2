"""Who the machines of a job are, by TF_CONFIG, Slurm's variables and those of a Kubernetes job."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.training.distributed.workers import (
    WorkerLostError,
    build_multi_worker_strategy,
    is_chief,
    lost_worker,
    resolve_cluster,
)

ROOT = Path(__file__).parents[3]
NAMES = (
    "TF_CONFIG",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "JOB_COMPLETION_INDEX",
    "JASPER_WORKERS",
)


@pytest.fixture
def environment(monkeypatch):
    def set_all(**variables):
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


class OnCluster:
    """What `is_chief` reads of a strategy."""

    def __init__(self, resolver):
        self.cluster_resolver = resolver


def tf_config(index, kind="worker", **cluster):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "chief"),
    [
        ({"worker": ["a:1", "b:1"]}, "worker", 0, True),
        ({"worker": ["a:1", "b:1"]}, "worker", 1, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 0, False),
    ],
)
def test_tf_config(environment, cluster, kind, index, chief):
    environment(TF_CONFIG=tf_config(index, kind, **cluster))
    resolver = resolve_cluster(2)
    assert resolver.cluster_spec().as_dict() == cluster
    assert (resolver.task_type, resolver.task_id) == (kind, index)
    assert is_chief(OnCluster(resolver)) == chief


def test_one_process_is_its_own_chief():
    assert is_chief(tf.distribute.get_strategy())


def test_slurm(environment):
    environment(
        SLURM_PROCID="2", SLURM_STEP_NUM_TASKS="3", SLURM_STEP_NODELIST="node[1-2]", SLURM_STEP_TASKS_PER_NODE="2,1"
    )
    resolver = resolve_cluster(3)
    assert resolver.cluster_spec().as_dict() == {"worker": ["node1:8888", "node1:8889", "node2:8888"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)
    # TensorFlow's own would give each task a GPU that is not there.
    assert resolver.num_accelerators() == {"GPU": len(tf.config.list_physical_devices("GPU"))}


def test_kubernetes(environment):
    environment(JOB_COMPLETION_INDEX="10", JASPER_WORKERS="asr-workers-0-{index}.asr:2222")
    resolver = resolve_cluster(11)
    assert resolver.cluster_spec().as_dict()["worker"] == [f"asr-workers-0-{i}.asr:2222" for i in range(11)]
    assert (resolver.task_type, resolver.task_id) == ("worker", 10)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "the environment does not describe the other machines; set TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG: .* does not name this process in its cluster; write"),
        ({"TF_CONFIG": tf_config(2, worker=["a:1", "b:1"])}, "does not name this process"),
        ({"TF_CONFIG": tf_config(0, worker=["a:1"])}, "num_nodes: 2, but the cluster has 1: .*a:1"),
        ({"JOB_COMPLETION_INDEX": "0"}, "JASPER_WORKERS: '' is not the address of each pod; write HOST"),
        ({"JOB_COMPLETION_INDEX": "2", "JASPER_WORKERS": "w-{index}:1"}, "num_nodes: 2, but this is pod 2 of its job"),
        ({"SLURM_PROCID": "0"}, "the cluster cannot be read: .*SLURM_STEP_NUM_TASKS"),
    ],
)
def test_one_line_for_what_is_missing(environment, variables, words):
    environment(**variables)
    with pytest.raises(UserError, match=words) as caught:
        resolve_cluster(2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "text", "lost"),
    [
        ("UnavailableError", "Connection reset by peer", True),
        (
            "FailedPreconditionError",
            "Collective ops is aborted by: RecvBuf expects a different device incarnation",
            True,
        ),
        ("DeadlineExceededError", "Collective ops is aborted by: Deadline Exceeded", True),
        ("InvalidArgumentError", "Incompatible shapes: [2,3] vs. [3]", False),
        ("FailedPreconditionError", "Could not find variable dense/kernel", False),
    ],
)
def test_loss_of_a_machine_in_what_tensorflow_says(error, text, lost):
    """Texts that collectives of four processes on loopback gave, one of them killed, another stopped meanwhile."""
    assert (lost_worker(getattr(tf.errors, error)(None, None, text)) is not None) == lost


@pytest.mark.parametrize(
    ("error", "raised"), [("UnavailableError", WorkerLostError), ("UnknownError", tf.errors.UnknownError)]
)
def test_a_loss_while_the_machines_meet(environment, monkeypatch, error, raised):
    """Ctrl-C is Python's again afterwards."""

    def meets(**settings):
        raise getattr(tf.errors, error)(None, None, "failed to connect to all addresses")

    environment(TF_CONFIG=tf_config(0, worker=["127.0.0.1:1", "127.0.0.1:2"]))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", meets)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(raised):
        build_multi_worker_strategy(2)
    assert signal.getsignal(signal.SIGINT) is before


LEAVING = """
import os, sys, time
from pathlib import Path
from jasper_tf.training.distributed import workers
index, heard = int(sys.argv[1]), Path(sys.argv[2])
strategy = workers.build_multi_worker_strategy(2)
if index:
    workers._meet(strategy)
    time.sleep(2)
    heard.touch()
    os._exit(0)
workers.leave_together(strategy)
os._exit(0 if heard.exists() else 7)
"""


@pytest.mark.medium
def test_nobody_leaves_before_all_have_heard_that_all_are_there(tmp_path):
    """Nor is it a loss that one is gone by then."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    machines = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVING, str(index), str(tmp_path / "heard")],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": tf_config(index, worker=addresses)},
        )
        for index in range(2)
    ]
    try:
        assert [machine.wait(timeout=120) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.kill()
