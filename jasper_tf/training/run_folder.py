"""The folder of one training run: what was asked for, on what it ran, and what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import yaml

from jasper_tf.config import Config
from jasper_tf.errors import UserError
from jasper_tf.whole_file import write_whole

_PACKAGES = ("tensorflow", "keras", "tensorflow-io", "keras-tuner", "numpy", "soundfile", "soxr", "jiwer")


class RunFolder:
    """`exp_dir/name`, or `exp_dir/name/version` (NeMo's layout).

    With `resume_if_exists` and no `version`, the run lies in `exp_dir/name` itself and a second start goes on there.
    Without, each start makes a new folder named after the time.

        config.yaml        the resolved configuration
        environment.json   command, packages, machine, git revision, for each start
        log.txt            what was printed
        metrics.csv        one row every `log_every_n_steps` and after each validation
        tensorboard/       the same as curves, with pictures and sample transcripts
        checkpoints/       what a resumed run starts from
        model.keras        the best weights so far: what evaluate, transcribe and export read

    Raises:
        UserError: the folder holds another run and resuming was not asked for, or its configuration differs.
    """

    def __init__(self, cfg: Config):
        e = cfg.exp_manager
        self.path = run_path(cfg)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.model_file = self.path / "model.keras"
        self.resumed = self.config_file.exists()
        if self.resumed and not e.resume_if_exists:
            raise UserError(f"{self.path}: holds a run; give another exp_manager.version, or resume_if_exists=true")
        if self.resumed:
            self._refuse_other_config(cfg)
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            with write_whole(self.config_file) as file:
                yaml.safe_dump(cfg.to_dict(), file, sort_keys=False, allow_unicode=True)
        self._record_environment()
        self._log = open(self.path / "log.txt", "a", encoding="utf-8", buffering=1)

    def say(self, text: str) -> None:
        """Prints a line and keeps it in log.txt."""
        print(text, flush=True)
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _refuse_other_config(self, cfg: Config) -> None:
        before = _flat(yaml.safe_load(self.config_file.read_text(encoding="utf-8")))
        now = _flat(cfg.to_dict())
        differing = sorted(
            key
            for key in before.keys() | now.keys()
            if before.get(key) != now.get(key) and not key.startswith("exp_manager.")
        )
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise UserError(
                f"{self.config_file}: this run began with {key}={before.get(key)}, now it is {now.get(key)}{more}; "
                "start a new run with exp_manager.name=..., or go on with the old values"
            )

    def _record_environment(self) -> None:
        file = self.path / "environment.json"
        starts = json.loads(file.read_text()) if file.exists() else []
        starts.append(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": [sys.executable, *sys.argv],
                "git_revision": _git_revision(),
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
                "packages": {name: _version(name) for name in _PACKAGES},
            }
        )
        with write_whole(file) as stream:
            json.dump(starts, stream, indent=1)


def run_path(cfg: Config) -> Path:
    """Where the run of `cfg` lies, or would lie if it began now."""
    e = cfg.exp_manager
    path = Path(e.exp_dir or "runs") / (e.name or cfg.name)
    if e.version or not e.resume_if_exists:
        path /= str(e.version or time.strftime("%Y-%m-%d_%H-%M-%S"))
    return path


def _flat(tree, prefix: str = "") -> dict[str, object]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    if isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
        return {k: v for i, value in enumerate(tree) for k, v in _flat(value, f"{prefix}{i}.").items()}
    return {prefix[:-1]: tree}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        here = Path(__file__).parent
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=here, capture_output=True, text=True
        )
    except OSError:
        return None
    return described.stdout.strip() or None
