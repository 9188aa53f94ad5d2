"""Who the machines of a job are, by TF_CONFIG, Slurm's variables and Kubernetes."""

import json
import sys
import types

import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.training.distributed.workers import is_chief, resolve_cluster

NAMES = (
    "TF_CONFIG",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "JOB_COMPLETION_INDEX",
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


def test_kubernetes(environment, monkeypatch):
    """The pods of an indexed job in the order of their numbers, not of their names; the API server is a stand-in."""
    pods = {f"batch.kubernetes.io/job-name=asr,batch.kubernetes.io/job-completion-index={i}": i for i in range(11)}

    def list_pods(label_selector):
        index = pods[label_selector]
        pod = types.SimpleNamespace(
            metadata=types.SimpleNamespace(name=f"asr-{index}-x"),
            status=types.SimpleNamespace(phase="Running", host_ip=f"10.0.0.{index}"),
        )
        return types.SimpleNamespace(items=[pod])

    package = types.ModuleType("kubernetes")
    # The former is TensorFlow 2.17's, the latter 2.21's.
    package.config = types.SimpleNamespace(load_kube_config=lambda: None, load_incluster_config=lambda: None)
    package.client = types.SimpleNamespace(
        CoreV1Api=lambda: types.SimpleNamespace(list_pod_for_all_namespaces=list_pods)
    )
    monkeypatch.setitem(sys.modules, "kubernetes", package)
    environment(JOB_COMPLETION_INDEX="10", HOSTNAME="asr-10")
    resolver = resolve_cluster(11)
    assert resolver.cluster_spec().as_dict()["worker"] == [f"10.0.0.{i}:8470" for i in range(11)]
    assert (resolver.task_type, resolver.task_id) == ("worker", 10)


def test_kubernetes_that_does_not_answer(environment, monkeypatch):
    def refuse():
        raise Exception("Invalid kube-config file. No configuration found.")

    package = types.ModuleType("kubernetes")
    package.config = types.SimpleNamespace(load_kube_config=refuse, load_incluster_config=refuse)
    monkeypatch.setitem(sys.modules, "kubernetes", package)
    environment(JOB_COMPLETION_INDEX="0", HOSTNAME="asr-0")
    with pytest.raises(UserError, match="the cluster cannot be read: Invalid kube-config file"):
        resolve_cluster(2)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "the environment does not describe the other machines; set TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG: .* does not name this process in its cluster; write"),
        ({"TF_CONFIG": tf_config(2, worker=["a:1", "b:1"])}, "does not name this process"),
        ({"TF_CONFIG": tf_config(0, worker=["a:1"])}, "num_nodes: 2, but the cluster has 1: .*a:1"),
        ({"SLURM_PROCID": "0"}, "the cluster cannot be read: .*SLURM_STEP_NUM_TASKS"),
    ],
)
def test_one_line_for_what_is_missing(environment, variables, words):
    environment(**variables)
    with pytest.raises(UserError, match=words) as caught:
        resolve_cluster(2)
    assert "\n" not in str(caught.value)
