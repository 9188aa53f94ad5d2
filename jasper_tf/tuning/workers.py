"""Search over several processes or machines: keras-tuner's chief and workers, with heartbeats.

The protocol (gRPC) and the environment variables are keras-tuner's: KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT and
KERASTUNER_TUNER_ID, which contains "chief" in the process that hands out the trials. Added here: every call contains
the name of the worker, workers send heartbeats, and a silent worker counts as lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent import futures

import grpc

from jasper_tf.errors import UserError
from jasper_tf.tuning.keras_tuner_internals import OracleClient, OracleServicer, protos
from jasper_tf.tuning.oracles import SteadyOracle

_NAME = "tuner-id"


class ChiefConnection(OracleClient):
    """A worker's connection to the oracle: keras-tuner's, with a timeout and a thread that sends heartbeats.

    Args:
        oracle: the worker's own, for the objective.
        timeout_s: an unanswered call raises grpc.RpcError after this time.
    """

    def __init__(self, oracle: SteadyOracle, timeout_s: float):
        super().__init__(oracle)
        channel = grpc.insecure_channel(chief_address())
        self.stub = protos.get_service_grpc().OracleStub(
            grpc.intercept_channel(channel, _SignedCalls(self.tuner_id, timeout_s))
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, args=(_interval_s(timeout_s),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the heartbeats."""
        self._closed.set()
        self._thread.join()

    def _send_heartbeats(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            try:
                self.stub.GetSpace(protos.get_service().GetSpaceRequest())
            except grpc.RpcError:
                pass  # the worker's own next call fails with a message


class _SignedCalls(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, name: str, timeout_s: float):
        self.name = name
        self.timeout_s = timeout_s

    def intercept_unary_unary(self, continuation, client_call_details, request):
        signed = [*(client_call_details.metadata or ()), (_NAME, self.name)]
        return continuation(client_call_details._replace(metadata=signed, timeout=self.timeout_s), request)


class _Chief(OracleServicer):
    """Chief of keras-tuner that watches its workers. One thread answers all calls."""

    def __init__(self, oracle: SteadyOracle, timeout_s: float, say: Callable[[str], None]):
        super().__init__(oracle)
        self.timeout_s = timeout_s
        self.say = say
        self.last_call: dict[str, float] = {}
        self.failure: Exception | None = None

    def note_call(self, name: str) -> None:
        if name not in self.last_call:
            self.say(f"worker {name} is here")
        self.last_call[name] = time.monotonic()

    def silent_s(self, began: float) -> float:
        return time.monotonic() - max([began, *self.last_call.values()])

    def CreateTrial(self, request, context):  # noqa: N802  # gRPC's name
        for name, when in list(self.last_call.items()):
            if time.monotonic() - when > self.timeout_s:
                del self.last_call[name]
                lost = self.oracle.requeue(name)
                self.say(f"worker {name} is lost" + (f"; its trial {lost} is given to another" if lost else ""))
        return self._kept(super().CreateTrial, request, context)

    def UpdateTrial(self, request, context):  # noqa: N802  # gRPC's name
        return self._kept(super().UpdateTrial, request, context)

    def EndTrial(self, request, context):  # noqa: N802  # gRPC's name
        return self._kept(super().EndTrial, request, context)

    def _kept(self, call, request, context):
        if self.failure:  # keras-tuner does not release its lock after an error: another call would wait forever
            context.abort(grpc.StatusCode.ABORTED, "the chief has failed")
        try:
            return call(request, context)
        except Exception as error:  # gRPC would report it only to the worker
            self.failure = error
            raise


class _Listener(grpc.ServerInterceptor):
    def __init__(self, chief: _Chief):
        self.chief = chief

    def intercept_service(self, continuation, handler_call_details):
        name = dict(handler_call_details.invocation_metadata).get(_NAME)
        if name:
            self.chief.note_call(name)
        return continuation(handler_call_details)


def serve(oracle: SteadyOracle, timeout_s: float, say: Callable[[str], None]) -> None:
    """Hands out trials as the chief until all have ended and every worker has been notified.

    A worker that is silent for `timeout_s` counts as lost; its trial goes to the next one that asks.

    Raises:
        UserError: the chief cannot listen at the address; all workers were silent for `timeout_s`.
    """
    address = chief_address()
    chief = _Chief(oracle, timeout_s, say)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=1),
        interceptors=[_Listener(chief)],
        options=[("grpc.so_reuseport", 0)],  # a second chief at this address is a mistake
    )
    protos.get_service_grpc().add_OracleServicer_to_server(chief, server)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise UserError(f"KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT: cannot listen at {address}; is a chief there?")
    server.start()
    say(f"chief at {address}: waiting for workers")
    began = time.monotonic()
    try:
        while not (chief.stop_triggered and not oracle.ongoing_trials and not oracle.tuner_ids):
            time.sleep(0.2)
            if chief.failure:
                raise chief.failure
            if chief.silent_s(began) > timeout_s:
                if chief.stop_triggered and not oracle.ongoing_trials:
                    break  # all trials have ended, and the last worker has left
                raise UserError(
                    f"no worker was heard for {timeout_s:g} s; start the search again, finished trials are kept"
                )
    finally:
        server.stop(grace=2).wait()


def role() -> str:
    """Returns "chief", "worker", or "alone" without keras-tuner's environment variables.

    Raises:
        UserError: only some of them are set.
    """
    names = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
    missing = [name for name in names if not os.environ.get(name)]
    if len(missing) == len(names):
        return "alone"
    if missing:
        raise UserError(f"environment: {', '.join(missing)} not set; keras-tuner's three variables belong together")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def chief_address() -> str:
    """Returns HOST:PORT of the chief, from keras-tuner's environment variables."""
    return f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"


def _interval_s(timeout_s: float) -> float:
    return min(10.0, timeout_s / 6)
