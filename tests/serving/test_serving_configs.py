"""configs/serving: the files parse as the server reads them, and agree with one another and with the client."""

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from tensorflow_serving.config import model_server_config_pb2

from jasper_tf.commands import client
from jasper_tf.serving.client.grpc_client import GRPC_PORT, MODEL_NAME
from jasper_tf.serving.client.rest_client import REST_PORT

CONFIGS = Path(__file__).parents[2] / "configs" / "serving"
FIELD = descriptor_pb2.FieldDescriptorProto
METRICS = "/monitoring/prometheus/metrics"


def message(name, messages):
    """A message class, for those of TensorFlow Serving that tensorflow-serving-api leaves out."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="check", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message_name, fields in messages.items():
        described = file.message_type.add(name=message_name)
        for number, (field, kind, label) in fields.items():
            added = described.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = FIELD.TYPE_MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"check.{name}"))


def read(name, kind):
    return text_format.Parse((CONFIGS / name).read_text(), kind())


@pytest.fixture(scope="module")
def model():
    [model] = read("models.config", model_server_config_pb2.ModelServerConfig).model_config_list.config
    return model


@pytest.fixture(scope="module")
def kubernetes():
    found = {part["kind"]: part for part in yaml.safe_load_all((CONFIGS / "kubernetes.yaml").read_text())}
    assert set(found) == {"Deployment", "Service"}
    return found


def server_options(words):
    return dict(word.removeprefix("--").split("=") for word in words if word.startswith("--") and "=" in word)


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    """The words of the command that docker-run.sh runs, with a docker that only prints them."""
    folder = tmp_path_factory.mktemp("docker")
    (folder / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "docker").chmod(0o755)
    (folder / "an4 model").mkdir()
    command = [CONFIGS / "docker-run.sh", "an4 model", "--enable_batching"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "DOCKER_OPTIONS": "--gpus all"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"type=bind,source={folder}/an4 model,target=/models/jasper,readonly" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "--enable_batching"
    assert "\n--gpus\nall\n" in done.stdout
    wrong = subprocess.run([CONFIGS / "docker-run.sh", "absent"], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")
    return done.stdout.splitlines()


def test_the_model_has_the_clients_name(model):
    assert (model.name, model.base_path, model.model_platform) == (MODEL_NAME, f"/models/{MODEL_NAME}", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    parser = argparse.ArgumentParser()
    client.add_arguments(parser)
    assert parser.parse_args(["--server", "h", "f"]).model == MODEL_NAME


def test_batching_parameters():
    one, many = FIELD.LABEL_OPTIONAL, FIELD.LABEL_REPEATED
    int64, string = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    fields = {k: (name, int64, one) for k, name in enumerate(names, 1)}
    fields |= {5: ("thread_pool_name", string, one), 6: ("allowed_batch_sizes", FIELD.TYPE_INT64, many)}
    fields[7] = ("pad_variable_length_inputs", FIELD.TYPE_BOOL, one)
    found = read("batching_parameters.txt", message("BatchingParameters", {"BatchingParameters": fields}))
    assert found.pad_variable_length_inputs
    assert all(getattr(found, name).value > 0 for name in names)
    # Each value has its reason above it, and the benchmarks that measure them are there.
    text = (CONFIGS / "batching_parameters.txt").read_text()
    assert all(re.search(rf"^# .*\n{name} ", text, re.MULTILINE) for name in names)
    for script in re.findall(r"python -m (\S+)", text):
        assert (CONFIGS.parents[1] / (script.replace(".", "/") + ".py")).is_file()
    # As the server demands it (session_bundle_config.proto), or it does not start.
    sizes = list(found.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and sizes[-1] == found.max_batch_size.value


def test_monitoring():
    one = FIELD.LABEL_OPTIONAL
    prometheus = {1: ("enable", FIELD.TYPE_BOOL, one), 2: ("path", FIELD.TYPE_STRING, one)}
    monitoring = {1: ("prometheus_config", ".check.PrometheusConfig", one)}
    kind = message("MonitoringConfig", {"PrometheusConfig": prometheus, "MonitoringConfig": monitoring})
    found = read("monitoring.config", kind).prometheus_config
    assert found.enable and found.path == METRICS


def test_docker(docker, model):
    published = [docker[k + 1] for k, word in enumerate(docker) if word == "--publish"]
    assert published == [f"{GRPC_PORT}:{GRPC_PORT}", f"{REST_PORT}:{REST_PORT}"]
    options = server_options(docker[docker.index("--port=8500") :])
    check_options(options)
    assert any(f"target={model.base_path}," in word for word in docker)
    assert any(f"source={CONFIGS},target=/configs," in word for word in docker)
    subprocess.run(["sh", "-n", CONFIGS / "docker-run.sh"], check=True)


def check_options(options):
    assert (options["port"], options["rest_api_port"]) == (str(GRPC_PORT), str(REST_PORT))
    for option in ("model_config_file", "monitoring_config_file"):
        folder, _, name = options[option].rpartition("/")
        assert folder == "/configs" and (CONFIGS / name).is_file()


def test_kubernetes(kubernetes, docker, model):
    template = kubernetes["Deployment"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    check_options(server_options(container["args"]))
    assert container["image"] in docker
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": GRPC_PORT, "rest": REST_PORT}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": f"/v1/models/{model.name}", "port": "rest"}
    assert container["livenessProbe"]["tcpSocket"]["port"] in ports

    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(REST_PORT) and annotations["prometheus.io/path"] == METRICS
    service = kubernetes["Service"]["spec"]
    assert {port["name"]: port["port"] for port in service["ports"]} == ports
    assert all(port["targetPort"] in ports for port in service["ports"])
    labels = template["metadata"]["labels"]
    assert service["selector"] == labels == kubernetes["Deployment"]["spec"]["selector"]["matchLabels"]

    # What the container mounts is there, and the ConfigMap of the comment holds the files that the options name.
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"models": str(Path(model.base_path).parent), "configs": "/configs"}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert set(volumes) == set(mounted)
    comment = (CONFIGS / "kubernetes.yaml").read_text()
    [created] = re.findall(r"# +kubectl (create configmap .*)", comment)
    words = shlex.split(created)
    assert words[2] == volumes["configs"]["configMap"]["name"]
    named = [Path(value).name for key, value in server_options(container["args"]).items() if key.endswith("_file")]
    assert [word.removeprefix("--from-file=") for word in words[3:]] == named
