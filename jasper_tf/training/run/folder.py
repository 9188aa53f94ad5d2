"""Folder of one training run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Self

import yaml

from jasper_tf.config import Config, load_config
from jasper_tf.config.flatten import differences
from jasper_tf.decoding.build_tokenizer import build_tokenizer, write_tokenizer
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.environment import git, package_version
from jasper_tf.io.object_storage import StorageError
from jasper_tf.io.process_exit import discard_stdout
from jasper_tf.training.run.lock import RunLock
from jasper_tf.training.run.place import RunPlace, local_place

_PACKAGES = ("tensorflow", "keras", "tensorflow-io", "keras-tuner", "numpy", "soundfile", "soxr", "jiwer")


class RunFolder:
    """Folder of a run: `exp_dir/name`, or `exp_dir/name/version` (NeMo's layout).

    With `resume_if_exists` and no `version`, the run is in `exp_dir/name` itself, and a second start resumes it.
    Without, each start makes a new folder, named by the time, or `version_0`, `version_1`, ... if
    `use_datetime_version` is false. A folder without a training step accepts any configuration.

        config.yaml        the resolved configuration
        tokenizer/         files of the tokenizer, where the labels are word pieces
        environment.json   command, packages, machine, devices, seed, git revision, for each start
        log.txt            what was printed
        metrics.csv        a row every `log_every_n_steps` and after each validation
        tensorboard/       the same as curves, with pictures and sample transcripts
        checkpoints/       for resuming
        model.keras        the best weights so far: what evaluate, transcribe and export read
        run.lock           exists while a process trains here

    Args:
        cfg: of the run.
        devices: names of the devices that it trains on.
        writes: False for a process that writes nothing, because another machine does.
        place: of the run, from `run_place`. Default: on this machine.

    Raises:
        UserError: the folder cannot be written, or another process trains in it; it contains a damaged file, a run
            without config.yaml, a run while `resume_if_exists` is false, or a run with another configuration while
            `allow_config_change` is false. Nothing in the folder is changed.
    """

    def __init__(self, cfg: Config, devices: Sequence[str] = (), writes: bool = True, place: RunPlace | None = None):
        self.place = place or local_place(cfg)
        self.path = self.place.path
        self.config_file = self.path / "config.yaml"
        self.environment_file = self.path / "environment.json"
        self.log_file = self.path / "log.txt"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.model_file = self.path / "model.keras"
        self.writes = writes
        self._log: IO[str] | None = None
        self._lock: RunLock | None = None
        try:
            if writes:
                self.path.mkdir(parents=True, exist_ok=True)
            self._check_kinds()
            if writes:
                self._lock = RunLock(self.path)
            known, changes = self._check(cfg)
            self.resumed = known and cfg.exp_manager.resume_if_exists
            if writes:
                self._begin(cfg, devices, changes)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise UserError(
                    f"{error.filename or self.path}: cannot write ({error.strerror or error}); make room, or name "
                    "another place with exp_manager.exp_dir=..."
                ) from error
            raise

    def _check_kinds(self) -> None:
        for folder in (self.tensorboard, self.checkpoints):
            if os.path.lexists(folder) and not folder.is_dir():
                raise UserError(f"{folder}: not a folder, but a run keeps its {folder.name} there; move it away")
        texts = (self.config_file, self.environment_file, self.log_file, self.metrics_file)
        for file in (*texts, self.model_file, self.path / "run.lock"):
            if os.path.lexists(file) and not file.is_file():  # neither is a link to itself or to nothing
                raise UserError(f"{file}: not a file, but a run writes its {file.name} there; move it away")

    def _check(self, cfg: Config) -> tuple[bool, list[str]]:
        """Returns whether there is a config.yaml, and its differences from `cfg`; UserError if `cfg` may not run."""
        known, trained = self.config_file.exists(), has_trained(self.path)
        if trained and not cfg.exp_manager.resume_if_exists:
            raise UserError(f"{self.path}: contains a run; set another exp_manager.version, or resume_if_exists=true")
        if trained and not known:
            raise UserError(
                f"{self.path}: contains a run without its config.yaml; put the file back (config.until-* are "
                "older ones), or start a new run with exp_manager.name=..."
            )
        changes = self._changes(cfg) if known else []
        if trained and changes and not cfg.exp_manager.allow_config_change:
            raise UserError(
                f"{self.config_file}: this run has another configuration: {'; '.join(changes)}; start a new run "
                "with exp_manager.name=..., use the old values, or set exp_manager.allow_config_change=true"
            )
        return known, changes

    def _begin(self, cfg: Config, devices: Sequence[str], changes: list[str]) -> None:
        starts = [*self._starts(), _start(cfg, devices)]
        for left_over in self.path.glob(".*writing*"):  # of a start that was killed
            left_over.unlink()
        if changes:
            # Copied, not renamed: a kill in between leaves a config.yaml.
            name = datetime.now().strftime("config.until-%Y-%m-%d_%H-%M-%S-%f.yaml")
            with atomic_write(self.path / name, binary=True) as copy:
                copy.write(self.config_file.read_bytes())
        if changes or not self.resumed:
            with atomic_write(self.config_file) as file:
                yaml.safe_dump(cfg.to_dict(), file, sort_keys=False, allow_unicode=True)
            write_tokenizer(build_tokenizer(cfg), self.path)
        with atomic_write(self.environment_file) as stream:
            json.dump(starts, stream, indent=1)
        self._log = open(self.log_file, "a", encoding="utf-8", buffering=1)
        if self._lock and not self._lock.supported:
            self.say(f"{self.path}: this file system has no locks; do not start a second run in this folder")
        if self.place.is_copy:
            self.say(f"{self.path}: object storage has no locks; do not start a second run in this folder")
        for change in changes:
            self.say(f"configuration changed: {change}")
        self.save()

    def say(self, text: str) -> None:
        """Writes a line to log.txt and prints it; without a reader of stdout (`| head`) the training goes on."""
        text = self.place.named(text)
        if self._log:
            try:
                self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            except OSError as error:
                raise UserError(
                    f"{self.log_file}: cannot write ({error.strerror}); make room, then the same command resumes"
                ) from error
        try:
            print(text, flush=True)
        except BrokenPipeError:
            discard_stdout()

    def save(self) -> None:
        """Copies what changed to object storage, if the run is there."""
        if self.writes:
            self.place.save()

    def close(self) -> None:
        """Closes log.txt and releases the folder."""
        if self._log:
            with contextlib.suppress(OSError):  # `say` has already reported it
                self._log.close()
            self._log = None
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close()
        if kind is None or not issubclass(kind, StorageError):
            self.save()

    def _changes(self, cfg: Config) -> list[str]:
        """Lists the keys that differ from the run's config.yaml."""
        # As a configuration, not as text, so that a key of a newer version has its default.
        before = load_config(self.config_file).to_dict()
        free = ("exp_manager.", "trainer.max_time")  # these change no weight
        return [
            f"{key}: {old} -> {new}" for key, old, new in differences(before, cfg.to_dict()) if not key.startswith(free)
        ]

    def _starts(self) -> list[object]:
        """Reads the earlier starts from environment.json."""
        if not self.environment_file.exists():
            return []
        try:
            starts = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            starts = None
        if not isinstance(starts, list):
            raise UserError(f"{self.environment_file}: not a JSON list; move it away, and a new one is written")
        return starts


def has_trained(folder: Path) -> bool:
    """Whether the run of a folder has trained; a start that failed on its configuration has not."""
    if (folder / "metrics.csv").exists() or (folder / "model.keras").exists():
        return True
    checkpoints = folder / "checkpoints"
    return checkpoints.is_dir() and any(not p.name.startswith(".") for p in checkpoints.iterdir())


def _start(cfg: Config, devices: Sequence[str]) -> dict[str, object]:
    """Describes this start for environment.json."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [sys.executable, *sys.argv],
        "git_revision": git("rev-parse", "HEAD"),
        "git_dirty": None if (status := git("status", "--porcelain")) is None else bool(status),
        "seed": cfg.seed,
        "devices": list(devices),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "packages": {name: package_version(name) for name in _PACKAGES},
    }
