"""The folder of one training run: what was asked for, on what it ran, and what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Self

import yaml

from jasper_tf.config import Config, config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import write_whole

_PACKAGES = ("tensorflow", "keras", "tensorflow-io", "keras-tuner", "numpy", "soundfile", "soxr", "jiwer")


class RunFolder:
    """`exp_dir/name`, or `exp_dir/name/version` (NeMo's layout).

    With `resume_if_exists` and no `version`, the run lies in `exp_dir/name` itself and a second start goes on there.
    Without, each start makes a new folder, named after the time, or `version_0`, `version_1`, ... where
    `use_datetime_version` is false.

        config.yaml        the resolved configuration
        environment.json   command, packages, machine, devices, seed, git revision, for each start
        log.txt            what was printed
        metrics.csv        one row every `log_every_n_steps` and after each validation
        tensorboard/       the same as curves, with pictures and sample transcripts
        checkpoints/       what a resumed run starts from
        model.keras        the best weights so far: what evaluate, transcribe and export read

    Args:
        cfg: of the run.
        devices: names of what it trains on.
        writes: False for a process that leaves all writing to another machine's.

    Raises:
        UserError: the folder holds another run and resuming was not asked for, or steps were made there with another
            configuration and `allow_config_change` is false.
    """

    def __init__(self, cfg: Config, devices: Sequence[str] = (), writes: bool = True):
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
        changes = self._changes(cfg) if self.resumed else []
        if changes and self._has_trained() and not e.allow_config_change:
            raise UserError(
                f"{self.config_file}: this run began with another configuration: {'; '.join(changes)}; start a new run "
                "with exp_manager.name=..., go on with the old values, or exp_manager.allow_config_change=true"
            )
        self.writes = writes
        self._log: IO[str] | None = None
        if not writes:
            return
        if not self.resumed or changes:
            self.path.mkdir(parents=True, exist_ok=True)
            if changes:
                self.config_file.replace(self.path / time.strftime("config.until-%Y-%m-%d_%H-%M-%S.yaml"))
            with write_whole(self.config_file) as file:
                yaml.safe_dump(cfg.to_dict(), file, sort_keys=False, allow_unicode=True)
        self._record_environment(cfg, devices)
        self._log = open(self.path / "log.txt", "a", encoding="utf-8", buffering=1)
        for change in changes:
            self.say(f"configuration changed: {change}")

    def say(self, text: str) -> None:
        """Prints a line and keeps it in log.txt."""
        print(text, flush=True)
        if self._log:
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def close(self) -> None:
        """Closes log.txt."""
        if self._log:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _has_trained(self) -> bool:
        # A start that ended at a mistake in the configuration has made no step that another one could spoil.
        return self.metrics_file.exists() or (self.checkpoints.is_dir() and any(self.checkpoints.iterdir()))

    def _changes(self, cfg: Config) -> list[str]:
        """What differs from the configuration that the run began with, a line for each key."""
        # As a configuration, not as text: a key that came with a newer version then has its default.
        text = self.config_file.read_text(encoding="utf-8")
        before = _flat(config_from_dict(yaml.safe_load(text), str(self.config_file)).to_dict())
        now = _flat(cfg.to_dict())
        free = ("exp_manager.", "trainer.max_time")  # where to write and for how long changes no weight
        return [
            f"{key}: {before.get(key, '(absent)')} -> {now.get(key, '(absent)')}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not key.startswith(free)
        ]

    def _record_environment(self, cfg: Config, devices: Sequence[str]) -> None:
        file = self.path / "environment.json"
        starts = json.loads(file.read_text()) if file.exists() else []
        starts.append(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": [sys.executable, *sys.argv],
                "git_revision": _git("rev-parse", "HEAD"),
                "git_dirty": None if (status := _git("status", "--porcelain")) is None else bool(status),
                "seed": cfg.seed,
                "devices": list(devices),
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
    if e.version is not None or not e.resume_if_exists:
        path /= str(_new_version(path, e.use_datetime_version) if e.version is None else e.version)
    return path


def _new_version(path: Path, datetime_version: bool) -> str:
    if datetime_version:
        return time.strftime("%Y-%m-%d_%H-%M-%S")
    taken = [int(p.name[8:]) for p in path.glob("version_*") if p.name[8:].isdigit()]
    return f"version_{max(taken, default=-1) + 1}"


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


def git_revision() -> str | None:
    """The commit of this package's checkout, with "-dirty" behind it where files are changed; None without git."""
    revision = _git("rev-parse", "HEAD")
    return f"{revision}-dirty" if revision and _git("status", "--porcelain") else revision


def _git(*arguments: str) -> str | None:
    """What git says of this package's checkout; None where it is none."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
