"""Where the files of a run are: a folder of this machine, or one in object storage with a working copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jasper_tf.config import Config
from jasper_tf.errors import DataError, DivergedError, UserError
from jasper_tf.io.object_storage import list_remote
from jasper_tf.io.remote import is_remote, remote_name
from jasper_tf.io.working_copy import WorkingCopy
from jasper_tf.training.run.checkpoint_manager import STATE_FILE


@dataclass(frozen=True)
class RunPlace:
    """The place of a run.

    Args:
        path: its files on this machine.
        name: what users call it: the path, or a URL.
        load: called before anything there is read; copies the files to this machine.
        save: called when a checkpoint is complete, and at the end; copies the files to where they outlive the machine.
    """

    path: Path
    name: Path | str
    load: Callable[[], None] = lambda: None
    save: Callable[[], None] = lambda: None

    @property
    def is_copy(self) -> bool:
        """Whether `path` is a working copy of what is in object storage."""
        return self.name != self.path

    def named(self, text: str) -> str:
        """`text` with the run's own name in place of the working copy's."""
        return text.replace(str(self.path), str(self.name)) if self.is_copy else text


@contextmanager
def run_place(cfg: Config) -> Iterator[RunPlace]:
    """Yields the place of the run of `cfg`. What is there already can be read after its `load`.

    Raises:
        UserError: the storage cannot be read; in the block, errors that name the working copy name the URL instead.
    """
    root = cfg.exp_manager.exp_dir or "runs"
    if not is_remote(root):
        yield local_place(cfg)
        return
    with WorkingCopy(_url(cfg, root), marker=STATE_FILE, guarded="checkpoints") as copy:
        place = RunPlace(copy.path, copy.url, copy.download, copy.upload)
        try:
            yield place
        except UserError as error:
            if type(error) not in (UserError, DataError, DivergedError):
                raise
            raise type(error)(place.named(str(error))) from error


def local_place(cfg: Config) -> RunPlace:
    """Returns the place of a run on this machine."""
    path = run_path(cfg)
    return RunPlace(path, path)


def run_path(cfg: Config) -> Path:
    """Returns the folder of the run of `cfg` on this machine, which need not exist."""
    e = cfg.exp_manager
    path = Path(e.exp_dir or "runs") / (e.name or cfg.name)
    if e.version is not None or not e.resume_if_exists:
        versions = (found.name for found in path.glob("version_*"))
        path /= str(_new_version(versions, e.use_datetime_version) if e.version is None else e.version)
    return path


def _url(cfg: Config, root: str) -> str:
    e = cfg.exp_manager
    url = remote_name(root, e.name or cfg.name)
    if e.version is None and e.resume_if_exists:
        return url
    if e.version is not None:
        return remote_name(url, str(e.version))
    versions = {name.split("/")[0] for name in list_remote(url)}
    return remote_name(url, _new_version(versions, e.use_datetime_version))


def _new_version(versions: Iterable[str], datetime_version: bool) -> str:
    if datetime_version:
        return time.strftime("%Y-%m-%d_%H-%M-%S")
    taken = [int(name[8:]) for name in versions if name.startswith("version_") and name[8:].isdigit()]
    return f"version_{max(taken, default=-1) + 1}"
