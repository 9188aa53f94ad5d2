"""Run folders in which something is damaged, missing, or of another kind."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged

pytestmark = pytest.mark.slow

CHECKPOINT = "checkpoints/step=00000004-val_wer=1.7500"
VARIABLES, POSITION = f"{CHECKPOINT}/variables.npz", f"{CHECKPOINT}/position.json"
FILES = ("config.yaml", "environment.json", "log.txt", "metrics.csv", "model.keras", VARIABLES, POSITION)
PIECES = (b"[" * 100_000, b"9" * 5000, b"NaN", b"1e999", b'"', b"\0", b"\xff", b"\x1b[2J", b"\n", b",", b"{}", b"null")
OTHERS = (
    "run.lock",
    "tensorboard/events.out.tfevents.1.host",
    "checkpoints/step=99999999999999999999",
    "config.until-x",
)
KINDS = ("removed", "empty", "folder", "pipe", "loop", "link to nothing", "/dev/zero")
Damage = tuple[str, str | bytes]


def seal(folder: Path) -> None:
    """Gives a checkpoint the checksum of what is in it."""
    try:
        record = json.loads((folder / POSITION).read_bytes())
        record.pop("sha256", None)
        content = (folder / VARIABLES).read_bytes() + json.dumps(record, sort_keys=True).encode()
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return
    (folder / POSITION).write_text(json.dumps({**record, "sha256": hashlib.sha256(content).hexdigest()}))


def test_run_folders(fuzz, golden):
    begun = golden / "begun_run"
    contents = {name: (begun / "begun" / name).read_bytes() for name in FILES}

    def write(folder: Path, example: tuple[list[Damage], bool]) -> Path:
        damages, sealed = example
        shutil.copy(begun / "begun.yaml", folder)
        for name in ("train.jsonl", "dev.jsonl"):
            (folder / name).touch()
        run = folder / "begun"
        shutil.copytree(begun / "begun", run)
        for name, how in damages:
            path = run / name
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(how, bytes):
                path.write_bytes(how)
            elif how == "empty":
                path.touch()
            elif how == "folder":
                path.mkdir()
            elif how == "pipe":
                os.mkfifo(path)
            elif how != "removed":
                path.symlink_to({"loop": path.name, "link to nothing": "nothing"}.get(how, how))
        if sealed and not any(isinstance(how, str) for _, how in damages):
            seal(run)
        return run

    changed = st.sampled_from(FILES).flatmap(
        lambda name: st.tuples(st.just(name), damaged(contents[name], PIECES, most_edits=2))
    )
    replaced = st.tuples(st.sampled_from([*FILES, *OTHERS]), st.sampled_from(KINDS))
    new = st.tuples(st.sampled_from(OTHERS), st.binary(max_size=60) | st.sampled_from(PIECES))
    damages = st.lists(st.one_of(changed, changed, replaced, new), min_size=1, max_size=2, unique_by=lambda d: d[0])
    fuzz("run", st.tuples(damages, st.booleans()), write, ([], False), may_write=True)
