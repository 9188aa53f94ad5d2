"""A server on 127.0.0.1 that answers as TensorFlow Serving does, for tests and benchmarks: gRPC and REST.

    python tests/serving/client/loopback_serving.py serving/an4 [--name jasper] [--port 8500] [--rest-port 8501]

prints its ports as a line of JSON and serves until its standard input ends. It runs the SavedModel with TensorFlow's
Python, takes the official messages, and names errors as `tensorflow_serving/servables/tensorflow` does. It can be
slow, fail and stop on demand. No batching, one model.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

HTTP_STATUS = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400, "UNAVAILABLE": 503, "INTERNAL": 500, "DEADLINE_EXCEEDED": 504}


class RefusalError(Exception):
    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class LoopbackServing:
    """Serves the newest version in `folder` under `name`; `with` starts and stops it.

    delay_s: how much longer each answer takes.
    failures: codes ("UNAVAILABLE", ...) for the next requests, first come first served.
    requests: how many came in.
    """

    def __init__(self, folder, name="jasper", port=0, rest_port=0, max_message_mb=64):
        versions = [int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdecimal()]
        self.folder = folder
        self.version = max(versions)
        self.name = name
        self.port, self.rest_port = port, rest_port
        self.max_message_bytes = int(max_message_mb * 2**20)
        self.delay_s = 0.0
        self.failures: list[str] = []
        self.requests = 0
        self._lock = threading.Lock()
        self._loaded = tf.saved_model.load(str(Path(folder) / str(self.version)))

    @property
    def signatures(self):
        return self._loaded.signatures

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def rest_address(self):
        return f"127.0.0.1:{self.rest_port}"

    def start(self):
        """On the ports of the time before, if there was one."""
        limit = [("grpc.max_receive_message_length", self.max_message_bytes), ("grpc.max_send_message_length", -1)]
        self._grpc = grpc.server(ThreadPoolExecutor(16), options=limit)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predict(self), self._grpc)
        self.port = self._grpc.add_insecure_port(f"127.0.0.1:{self.port}")
        self._grpc.start()
        handler = type("Handler", (_Rest,), {"serving": self})
        self._http = _HttpServer(("127.0.0.1", self.rest_port), handler)
        self.rest_port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def predict(self, name, version, signature, inputs, output_filter=()):
        """Outputs by name, as arrays; `inputs`: values by name, as arrays or nested lists."""
        with self._lock:
            self.requests += 1
            failure = self.failures.pop(0) if self.failures else None
        time.sleep(self.delay_s)
        if failure:
            raise RefusalError(failure, f"failing as it was told to ({failure})")
        if name != self.name or version not in (None, self.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RefusalError("NOT_FOUND", f"Servable not found for request: {wanted}")
        call = self._loaded.signatures.get(signature or "serving_default")
        if call is None:
            raise RefusalError("INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found in signature def')
        specs = call.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise RefusalError("INVALID_ARGUMENT", _other_inputs(sorted(inputs), sorted(specs)))
        unknown = set(output_filter) - set(call.structured_outputs)
        if unknown:
            raise RefusalError("INVALID_ARGUMENT", f"output tensor alias not found in signature: {sorted(unknown)}")
        try:
            found = call(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            raise RefusalError("INVALID_ARGUMENT", getattr(error, "message", str(error))) from None
        return {key: value.numpy() for key, value in found.items() if not output_filter or key in output_filter}


def _other_inputs(given, wanted):
    """VerifyRequestInputsSize in predict_util.cc."""
    (sent, required) = (",".join(names) for names in (given, wanted))
    extra, missing = (",".join(n for n in a if n not in b) for a, b in ((given, wanted), (wanted, given)))
    return (
        f"input size does not match signature: {len(given)}!={len(wanted)} len({{{sent}}}) != len({{{required}}}). "
        f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
    )


class _Predict(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, serving):
        self.serving = serving

    def Predict(self, request, context):  # noqa: N802  # gRPC's name
        spec = request.model_spec
        inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
        version = spec.version.value if spec.HasField("version") else None
        try:
            found = self.serving.predict(spec.name, version, spec.signature_name, inputs, request.output_filter)
        except RefusalError as refusal:
            context.abort(grpc.StatusCode[refusal.code], str(refusal))
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec)
        response.model_spec.version.value = self.serving.version
        for key, value in found.items():
            # Values in fields of their type, not as bytes: TensorFlow Serving's default.
            response.outputs[key].CopyFrom(_by_fields(value))
        return response


def _by_fields(value):
    proto = tf.make_tensor_proto(value)
    if proto.tensor_content:
        field = {tf.float32: "float_val", tf.int64: "int64_val", tf.int32: "int_val"}[tf.as_dtype(value.dtype)]
        proto.tensor_content = b""
        getattr(proto, field).extend(value.ravel().tolist())
    return proto


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """Connections that break are what it is here for."""


class _Rest(BaseHTTPRequestHandler):
    serving: LoopbackServing

    def do_GET(self):  # noqa: N802  # the name http.server calls
        if self.path != f"/v1/models/{self.serving.name}/metadata":
            return self._answer(404, {"error": f"Servable not found: {self.path}"})
        signatures = {
            name: {"inputs": dict.fromkeys(call.structured_input_signature[1], {})}
            for name, call in self.serving.signatures.items()
        }
        return self._answer(200, {"metadata": {"signature_def": {"signature_def": signatures}}})

    def do_POST(self):  # noqa: N802  # the name http.server calls
        size = int(self.headers["Content-Length"])
        if size > self.serving.max_message_bytes:
            return self._answer(413, {"error": "Request Entity Too Large"})
        body = self.rfile.read(size)
        if len(body) < size:
            return None
        try:
            path, _, verb = self.path.rpartition(":")
            _, v1, models, name, *versions = path.split("/")
            if (v1, models, verb) != ("v1", "models", "predict"):
                raise RefusalError("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            request = json.loads(body)
            inputs = {key: _without_b64(value) for key, value in request["inputs"].items()}
            version = int(versions[1]) if versions else None
            signature = self.serving.signatures.get(request.get("signature_name"))
            if signature is not None:  # json_tensor.cc passes over inputs that the signature lacks
                wanted = signature.structured_input_signature[1]
                if missing := sorted(set(wanted) - set(inputs)):
                    said = f"Missing named input: {missing[0]} in 'inputs' object."
                    raise RefusalError("INVALID_ARGUMENT", said)
                inputs = {key: value for key, value in inputs.items() if key in wanted}
            found = self.serving.predict(name, version, request.get("signature_name"), inputs)
        except RefusalError as refusal:
            return self._answer(HTTP_STATUS[refusal.code], {"error": str(refusal)})
        outputs = {key: _plain(value) for key, value in found.items()}
        return self._answer(200, {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))})

    def _answer(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


def _without_b64(value):
    if isinstance(value, list):
        return [_without_b64(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _plain(value):
    if isinstance(value, bytes):
        return value.decode()
    return [_plain(item) for item in value] if value.dtype == object else value.tolist()


class CuttingProxy:
    """Passes connections on to `port`, but cuts the first `cuts` of them after `after_bytes` bytes of a request.

    share: of the connections that may be cut, how many are, by chance (seeded).
    """

    def __init__(self, port, cuts, after_bytes=2000, share=1.0):
        self.target, self.cuts, self.after_bytes, self.share = port, cuts, after_bytes, share
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Closing alone does not wake a thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                cut, self.cuts = self.cuts > 0 and self._random.random() < self.share, self.cuts - 1
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()
                limit = self.after_bytes if cut else None
                threading.Thread(target=self._pass, args=(client, server, limit), daemon=True).start()

    def _pass(self, source, sink, limit):
        passed = 0
        with contextlib.suppress(OSError):
            while limit is None or passed < limit:
                data = source.recv(65536 if limit is None else min(65536, limit - passed))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                passed += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                # Closed with a reset, as a crash or a firewall does.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
                end.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="with the versions that export.py wrote")
    parser.add_argument("--name", default="jasper")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--max-message-mb", type=float, default=64)
    a = parser.parse_args()
    with LoopbackServing(a.folder, a.name, a.port, a.rest_port, a.max_message_mb) as serving:
        print(json.dumps({"port": serving.port, "rest_port": serving.rest_port, "pid": os.getpid()}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
