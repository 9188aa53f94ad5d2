#!/bin/sh
# Serves the newest version in a folder that export.py wrote:
#     python export.py runs/an4 --output serving/an4
#     configs/serving/docker-run.sh serving/an4
#     python -m jasper_tf client --server localhost:8500 FILE...
# 8500 is gRPC, 8501 is REST, open to whoever reaches this machine. Ctrl-C ends it. Arguments behind the folder go to the
# server. On a GPU: IMAGE=tensorflow/serving:2.19.1-gpu DOCKER_OPTIONS="--gpus all" configs/serving/docker-run.sh ...
set -eu

if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    echo "usage: $0 FOLDER [SERVER OPTION ...]   FOLDER: as given to export.py --output" >&2
    exit 2
fi
configs=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd)
shift

# The image's own entry point is a shell that passes no signal on, and the server as the first process of a container
# ignores them (tensorflow/serving#1853): Docker's own first process (--init) does neither.
# shellcheck disable=SC2086 # several options
exec docker run --rm --init --entrypoint /usr/bin/tensorflow_model_server ${DOCKER_OPTIONS:-} \
    --publish 8500:8500 \
    --publish 8501:8501 \
    --mount "type=bind,source=$folder,target=/models/jasper,readonly" \
    --mount "type=bind,source=$configs,target=/configs,readonly" \
    "${IMAGE:-tensorflow/serving:2.19.1}" \
    --port=8500 \
    --rest_api_port=8501 \
    --model_config_file=/configs/models.config \
    --monitoring_config_file=/configs/monitoring.config \
    "$@"
