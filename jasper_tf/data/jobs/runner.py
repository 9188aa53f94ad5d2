"""Where the parts of a job are computed: processes of this machine, an Apache Beam runner, or Spark."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from jasper_tf.errors import DataError, UserError, one_line
from jasper_tf.io.thread_pool import map_in_order

ENGINES = ("direct", "flink", "spark", "dataflow")
_BEAM_RUNNERS = {"flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}

_BEAM_THREADS = ("run_worker", "beam_control_read", "read_grpc_client_inputs")
"""Names of Beam's threads that raise where a worker process ended; the first waits for the process."""
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Runner:
    """Where a function is mapped over items.

    Args:
        engine: one of `ENGINES`; None: processes of this machine.
        options: of the engine, as on its own command line. "spark" is PySpark, which takes --master and --conf; with
            --job_endpoint it is Beam's runner.
        workers: processes on this machine, also of "direct".
    """

    engine: str | None = None
    options: Sequence[str] = ()
    workers: int = 1

    def map(self, function: Callable[[Any], object], items: Sequence[Any], stop: threading.Event) -> None:
        """Calls a picklable `function` with each item, in any order, some maybe twice; returns when all calls have.

        Args:
            function: of a module that the workers can import.
            items: small ones.
            stop: ends the processes of this machine at once.

        Raises:
            UserError: the engine is not installed, cannot be reached or refuses its options.
            DataError: a worker ended, or the engine gave up.
        """
        if self.engine is None:
            self._on_processes(function, items, stop)
        elif self.engine == "spark" and not any(option.startswith("--job_endpoint") for option in self.options):
            self._on_spark(function, items)
        else:
            self._on_beam(function, items)

    def _on_processes(self, function: Callable[[Any], object], items: Sequence[Any], stop: threading.Event) -> None:
        # Not fork: TensorFlow's threads do not survive it.
        context = multiprocessing.get_context("spawn")
        workers = min(self.workers, len(items))
        threads = max(1, (os.cpu_count() or 1) // workers)
        ended, end = context.Pipe(duplex=False)

        def end_with_job() -> None:
            stop.wait()
            end.close()

        threading.Thread(target=end_with_job, daemon=True).start()
        pool = ProcessPoolExecutor(workers, context, _begin_worker, (threads, ended))
        try:
            for _ in map_in_order(function, items, workers, pool=pool):
                if stop.is_set():
                    return
        except BrokenProcessPool:
            raise _worker_ended() from None

    def _on_spark(self, function: Callable[[Any], object], items: Sequence[Any]) -> None:
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise UserError("--runner spark: needs PySpark; pip install pyspark") from None
        parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
        parser.add_argument("--master")
        parser.add_argument("--conf", action="append", default=[])
        try:
            options, unknown = parser.parse_known_args(self.options)
        except argparse.ArgumentError as error:
            raise UserError(f"--runner-options: {error}") from None
        if unknown or not all("=" in one for one in options.conf):
            wrong = [*unknown, *options.conf][0]
            raise UserError(f"--runner-options {wrong}: Spark's are --master=URL and --conf=KEY=VALUE")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        quiet = {"spark.log.level": "OFF", "spark.ui.showConsoleProgress": "false", "spark.ui.enabled": "false"}
        builder = SparkSession.builder.appName("jasper-tf").config(map=quiet)
        if options.master:
            builder = builder.master(options.master)
        for key, _, value in (one.partition("=") for one in options.conf):
            builder = builder.config(key, value)
        try:
            session = builder.getOrCreate()
            try:
                session.sparkContext.parallelize(items, len(items)).foreach(function)
            finally:
                session.stop()
        except Exception as error:  # py4j's, Spark's and socket's
            raise _failed("spark", error) from error

    def _on_beam(self, function: Callable[[Any], object], items: Sequence[Any]) -> None:
        assert self.engine is not None
        logging.disable(logging.WARNING)  # about optional packages of Beam's
        try:
            with warnings.catch_warnings(action="ignore"):
                import apache_beam as beam
                from apache_beam.options.pipeline_options import PipelineOptions
                from apache_beam.runners.portability.fn_api_runner import FnApiRunner
                from apache_beam.transforms.environments import SubprocessSDKEnvironment
        except ImportError:
            raise UserError(
                f'--runner {self.engine}: needs Apache Beam; pip install --only-binary :all: "jasper-tf[beam]"'
            ) from None
        finally:
            logging.disable(logging.NOTSET)
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        try:
            # Not DirectRunner: it asks the network for a Go binary first.
            runner: Any = _BEAM_RUNNERS.get(self.engine)
            if runner is None:  # the workers' log says nothing that the driver does not learn
                command = (
                    f"exec {shlex.quote(sys.executable)} -m jasper_tf.data.jobs.beam_worker {os.getpid()} 2>/dev/null"
                )
                runner = FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))
            options = PipelineOptions([f"--direct_num_workers={self.workers}", *self.options])
            if self.engine == "direct":  # Beam would leave out what it does not know
                unknown = options.get_all_options(retain_unknown_options=True).keys() - options.get_all_options()
                if unknown:
                    raise UserError(f"--runner-options --{min(unknown)}: is no option of Beam; check its name")

            def run() -> None:
                with beam.Pipeline(runner, options) as pipeline:
                    _ = pipeline | beam.Create(items) | beam.Reshuffle() | beam.Map(function)

            _run_until_a_worker_ends(run)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # argparse's, gRPC's, an engine's; of any class
            raise _failed(self.engine, error) from error


def _begin_worker(threads: int, ended: Connection) -> None:
    """The initializer of a process: TensorFlow takes its share of the cores; it ends when `ended` is closed."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)

    def end_with_job() -> None:  # with the parent too
        with contextlib.suppress(EOFError, OSError):
            ended.recv()
        os._exit(1)

    threading.Thread(target=end_with_job, daemon=True).start()


def _run_until_a_worker_ends(run: Callable[[], None]) -> None:
    """Calls `run`, which executes a pipeline on this machine.

    Beam waits for ever for a worker that was killed: only threads of its own learn that it ended, and print it.

    Raises:
        DataError: a worker was killed. The pipeline is left alone: nothing can end it but the end of this process.
        BaseException: whatever `run` raised.
    """
    lost = threading.Event()
    failure: list[BaseException] = []
    before = threading.excepthook

    def on_exception(raised: threading.ExceptHookArgs) -> None:
        if raised.thread is None or raised.thread.name not in _BEAM_THREADS:
            before(raised)
        elif raised.thread.name == _BEAM_THREADS[0]:
            lost.set()

    def work() -> None:
        try:
            run()
        except BaseException as error:
            failure.append(error)

    threading.excepthook = on_exception
    pipeline = threading.Thread(target=work, daemon=True)
    pipeline.start()
    while pipeline.is_alive():
        if lost.is_set():
            raise _worker_ended()
        pipeline.join(_LOOK_EVERY_S)
    threading.excepthook = before
    if failure:
        raise failure[0]


def _worker_ended() -> DataError:
    return DataError("a worker process was ended (killed, or out of memory); run the same command again")


def _failed(engine: str, error: BaseException) -> UserError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return DataError(f"--runner {engine}: {one_line(lines[-1])}; finished parts are kept for the same command")
