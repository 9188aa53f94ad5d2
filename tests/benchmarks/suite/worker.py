"""Answers the harness: prepares one measurement, then runs it whenever asked. Any Python; standard library only.

    python worker.py FILE FUNCTION ARGUMENTS

FUNCTION of FILE takes the ARGUMENTS (JSON) and returns `run`, which does the work once and waits for its result. `run`
may return the seconds itself, if some of what it does does not count. Requests come as lines of JSON, {"run": arguments
of `run`, "least_s": s}; so do answers, {"ready": versions}, {"seconds": s, "flop": n} or {"error": text}.

Work that takes less than half of `least_s` is then repeated for that long, and the median counts: its first time, the
caches are full of what others did.
"""

import importlib.util
import json
import os
import statistics
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path

PACKAGES = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "nemo": "nemo_toolkit",
    "torch": "torch",
    "ai_edge_litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "pyctcdecode": "pyctcdecode",
    "tensorflow_asr": "TensorFlowASR",
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(**values) -> None:
        answers.write(json.dumps(values) + "\n")

    try:
        file, function, arguments = sys.argv[1:]
        sys.path.insert(0, str(Path(file).parent))
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        run = getattr(module, function)(**json.loads(arguments))
        answer(ready={d: metadata.version(d) for m, d in PACKAGES.items() if m in sys.modules})
        for line in sys.stdin:
            request = json.loads(line)
            values, least_s = request["run"], request["least_s"]
            seconds = [_time(run, values)]
            if seconds[0] < least_s / 2:
                seconds = []
                while sum(seconds) < least_s:
                    seconds.append(_time(run, values))
            counted = getattr(run, "flop", None)
            answer(seconds=statistics.median(seconds), flop=counted(**values) if counted else None)
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip().splitlines() or [""])[0]
        answer(error=f"{type(error).__name__}: {text}"[:300])


def _time(run, values: dict) -> float:
    began = time.perf_counter()
    own = run(**values)
    return time.perf_counter() - began if own is None else own


if __name__ == "__main__":
    main()
