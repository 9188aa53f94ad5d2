"""Resolves the cluster of machines that train one model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading

import tensorflow as tf

from jasper_tf.errors import UserError, one_line

# Raised by a collective operation, or while the machines meet, when another machine is gone.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
# In the text of any other, such as FailedPrecondition (the other machine is gone and back, before this one has noticed)
# and DeadlineExceeded (it does not answer).
_COLLECTIVE = "Collective ops is aborted"
_WAYS = "set TF_CONFIG, or start the command through srun, or as an indexed Kubernetes job"


def resolve_cluster(num_nodes: int) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Resolves the workers of this job and the rank of this process with TensorFlow's resolvers.

    In this order: TF_CONFIG (Kubeflow's training operator sets it); Slurm's variables, for a step started by srun;
    JOB_COMPLETION_INDEX, for the pods of an indexed Kubernetes job or a JobSet, whose manifest gives their addresses
    as JASPER_WORKERS, such as `train-workers-0-{index}.train:2222`.

    Raises:
        UserError: none of them is set, TF_CONFIG is wrong, or the job does not have `num_nodes` workers.
    """
    resolvers = tf.distribute.cluster_resolver
    try:
        if "TF_CONFIG" in os.environ:
            _check_tf_config(os.environ["TF_CONFIG"])
            resolver = resolvers.TFConfigClusterResolver()
        elif "SLURM_PROCID" in os.environ:
            # The resolver distributes GPUs and drops tasks without one; Slurm has already assigned them.
            tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
            resolver = resolvers.SlurmClusterResolver(gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False)
        elif "JOB_COMPLETION_INDEX" in os.environ:
            resolver = _kubernetes(num_nodes)
        else:
            raise UserError(f"trainer.num_nodes: the environment does not describe the other machines; {_WAYS}")
        # First, because Slurm's resolver knows its own task only afterwards.
        workers = resolver.cluster_spec()
    except (RuntimeError, KeyError) as error:
        raise UserError(f"trainer.num_nodes: the cluster cannot be read: {one_line(error)}") from None
    count = sum(workers.num_tasks(kind) for kind in workers.jobs if kind in ("chief", "worker"))
    if count != num_nodes:
        raise UserError(f"trainer.num_nodes: {num_nodes}, but the cluster has {count}: {workers.as_dict()}")
    # The resolvers guess the number of GPUs, and the strategy trains on that many.
    gpus = {"GPU": len(tf.config.get_visible_devices("GPU"))}
    return resolvers.SimpleClusterResolver(
        workers, task_type=resolver.task_type, task_id=resolver.task_id, num_accelerators=gpus, rpc_layer="grpc"
    )


def build_multi_worker_strategy(num_nodes: int) -> tf.distribute.Strategy:
    """Builds a MultiWorkerMirroredStrategy; call it before anything initializes TensorFlow's devices.

    Returns when all machines are there.

    Raises:
        UserError: see `resolve_cluster`.
        WorkerLostError: another machine has restarted meanwhile, or one did not come within an hour.
    """
    resolver = resolve_cluster(num_nodes)
    print(f"{resolver.task_type} {resolver.task_id} of {num_nodes} machines: waiting for the others", flush=True)
    interruptible = threading.current_thread() is threading.main_thread()
    if interruptible:  # TensorFlow does not let Python run meanwhile
        handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except tf.errors.OpError as error:
        if lost := lost_worker(error):
            raise lost from error
        raise
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, handler)


def leave_together(strategy: tf.distribute.Strategy) -> None:
    """Waits until all machines of the job have called this.

    Raises:
        tf.errors.OpError: another machine is gone that had not called it.
    """
    _meet(strategy)
    # Who left now would be lost to those that have not heard yet that all are there. Once they have, nothing matters.
    with contextlib.suppress(tf.errors.OpError):
        _meet(strategy)


class WorkerLostError(Exception):
    """Another machine of the job is gone; only a new process can join the others again."""


def lost_worker(error: tf.errors.OpError) -> WorkerLostError | None:
    """Returns a WorkerLostError if `error`, in a job of several machines, comes from the loss of another, else None."""
    if not isinstance(error, _LOST) and _COLLECTIVE not in error.message:
        return None
    return WorkerLostError(f"another machine of this job is gone ({type(error).__name__})")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the run: the chief, or worker 0 if there is no chief."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    kind, number = resolver.task_type, resolver.task_id
    return kind == "chief" or (number == 0 and "chief" not in resolver.cluster_spec().jobs)


def _meet(strategy: tf.distribute.Strategy) -> None:
    strategy.run(tf.function(lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.ones(()))))


def _check_tf_config(text: str) -> None:
    form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        cluster[task["type"]][int(task["index"])]
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"TF_CONFIG: {text[:200]!r} does not name this process in its cluster; write {form}") from None


def _kubernetes(num_nodes: int) -> tf.distribute.cluster_resolver.ClusterResolver:
    """By the names that an indexed job's pods have in DNS; asking the API server would need a package and a right."""
    pattern = os.environ.get("JASPER_WORKERS", "")
    if "{index}" not in pattern:
        raise UserError(
            f"JASPER_WORKERS: {pattern[:200]!r} is not the address of each pod; write HOST-{{index}}.SERVICE:PORT"
        )
    addresses = [pattern.replace("{index}", str(index)) for index in range(num_nodes)]
    cluster = tf.train.ClusterSpec({"worker": addresses})
    index = int(os.environ["JOB_COMPLETION_INDEX"])
    if index >= num_nodes:
        raise UserError(f"trainer.num_nodes: {num_nodes}, but this is pod {index} of its job; set it to completions")
    return tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, task_type="worker", task_id=index)
