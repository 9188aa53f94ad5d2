"""Checkpoints: everything comes back, the right ones stay, and damage costs one checkpoint only."""

import gc
import hashlib
import io
import json
import math
import os
import resource
import sys
import zipfile

import keras
import numpy as np
import pytest

from jasper_tf.errors import DivergedError, UserError
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.training_state import TrainingState


def small_model(units: int = 3) -> keras.Model:
    layers = [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5, seed=1)]
    model = keras.Sequential([*layers, keras.layers.BatchNormalization()])
    model.compile(NovoGrad(0.1, amsgrad=True), "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def train_on(model: keras.Model, steps: int) -> None:
    for step in range(steps):
        draw = np.random.default_rng(step)
        model.train_on_batch(draw.normal(size=(4, 2)), draw.normal(size=(4, 3)))


def everything(model: keras.Model) -> list[np.ndarray]:
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    return [np.array(v) for v in model.variables + model.optimizer.variables if id(v) not in metrics]


def at(step: int, wer: float | None = None, **more) -> TrainingState:
    return TrainingState(epoch=step, step=step, metrics={} if wer is None else {"val_wer": wer}, **more)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = small_model()
    train_on(model, 2)
    return model


@pytest.fixture
def checkpoints(tmp_path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", save_top_k=2)


def test_everything_comes_back(model, checkpoints):
    state = TrainingState(epoch=3, step_in_epoch=2, step=17, metrics={"val_wer": 0.25, "val_loss": 1.5}, best=0.2)
    checkpoints.save(model, state)
    saved = everything(model)
    # Weights, running statistics, dropout's state; step count, learning rate, a momentum and two norms per tensor.
    assert len(saved) == 4 + 2 + 1 + 2 + 3 * 4
    other = small_model()
    train_on(other, 5)
    assert any((a != b).any() for a, b in zip(saved, everything(other), strict=True))
    assert checkpoints.restore(other) == state
    for a, b in zip(saved, everything(other), strict=True):
        np.testing.assert_array_equal(a, b)
    # What follows is the same too, masks of dropout included.
    twin = small_model()
    checkpoints.restore(twin)
    for continued in (other, twin):
        train_on(continued, 3)
    for a, b in zip(everything(other), everything(twin), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_there(model, checkpoints):
    assert checkpoints.restore(model) is None


@pytest.mark.parametrize(
    ("top_k", "last", "kept"),
    [(2, True, [2, 4, 6]), (2, False, [2, 4]), (1, True, [4, 6]), (0, True, [6]), (-1, True, [1, 2, 3, 4, 5, 6])],
)
def test_the_best_and_the_newest_stay(model, tmp_path, top_k, last, kept):
    checkpoints = CheckpointManager(tmp_path, save_top_k=top_k, save_last=last)
    for step, wer in enumerate([0.9, 0.4, math.nan, 0.3, 0.8, 0.7], start=1):
        checkpoints.save(model, at(step, wer))
    assert [int(p.name[5:13]) for p in checkpoints.paths()] == kept
    assert "-val_wer=0.3000" in "".join(p.name for p in checkpoints.paths()) or top_k == 0


def test_the_best_may_be_the_highest(model, tmp_path):
    checkpoints = CheckpointManager(tmp_path, save_top_k=1, save_last=False, mode="max")
    for step, value in enumerate([0.2, 0.9, math.nan, 0.4], start=1):
        checkpoints.save(model, at(step, value))
    assert [int(p.name[5:13]) for p in checkpoints.paths()] == [2]


def test_one_to_keep_stays_until_the_next(model, tmp_path):
    checkpoints = CheckpointManager(tmp_path, save_top_k=1, save_last=False)
    checkpoints.save(model, at(1, 0.5))
    checkpoints.save(model, TrainingState(step=2, step_in_epoch=1), keep=True)
    assert [int(p.name[5:13]) for p in checkpoints.paths()] == [1, 2]
    checkpoints.save(model, at(3, 0.4))
    assert [int(p.name[5:13]) for p in checkpoints.paths()] == [3]


def test_nan_ranks_last(model, tmp_path):
    checkpoints = CheckpointManager(tmp_path, save_top_k=1, save_last=False)
    for step, wer in enumerate([math.nan, 0.5, 0.4], start=1):
        checkpoints.save(model, at(step, wer))
    assert [p.name for p in checkpoints.paths()] == ["step=00000003-val_wer=0.4000"]


def test_one_inside_an_epoch_is_newest_but_never_best(model, checkpoints):
    for state in (at(1, 0.5), at(2, 0.6), at(3, 0.1, step_in_epoch=3), at(4, 0.1, step_in_epoch=4)):
        checkpoints.save(model, state)
    assert [p.name for p in checkpoints.paths()] == [
        "step=00000001-val_wer=0.5000",
        "step=00000002-val_wer=0.6000",
        "step=00000004",
    ]


def torn(path):
    data = (path / "variables.npz").read_bytes()
    (path / "variables.npz").write_bytes(data[: len(data) // 2])


def flipped(path):
    data = bytearray((path / "variables.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "variables.npz").write_bytes(data)


def without_variables(path):
    (path / "variables.npz").unlink()


def without_state(path):
    (path / "position.json").unlink()


def torn_state(path):
    (path / "position.json").write_text((path / "position.json").read_text()[:20])


def altered_state(path):
    record = json.loads((path / "position.json").read_text())
    (path / "position.json").write_text(json.dumps({**record, "step": 3}))


def no_mapping(path):
    (path / "position.json").write_text("[1]")


def without_checksum_and_variables(path):
    record = json.loads((path / "position.json").read_text())
    del record["sha256"]
    (path / "position.json").write_text(json.dumps(record))
    without_variables(path)


def empty(path):
    for file in path.iterdir():
        file.unlink()


def folders(path):
    for file in list(path.iterdir()):
        file.unlink()
        file.mkdir()


def pipes(path):
    for file in list(path.iterdir()):
        file.unlink()
        os.mkfifo(file)


def nested_state(path):
    (path / "position.json").write_text("[" * 99_999)


DAMAGES = [
    torn,
    flipped,
    without_variables,
    without_state,
    torn_state,
    altered_state,
    no_mapping,
    without_checksum_and_variables,
    empty,
    folders,
    pipes,
    nested_state,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_after_damage_the_one_before(model, checkpoints, damage):
    checkpoints.save(model, at(1, 0.5))
    saved = everything(model)
    train_on(model, 1)
    damage(checkpoints.save(model, at(5, 0.4)))
    warnings = []
    assert checkpoints.restore(model, warn=warnings.append) == at(1, 0.5)
    assert len(warnings) == 1 and "step=00000005-val_wer=0.4000: damaged checkpoint" in warnings[0]
    for a, b in zip(saved, everything(model), strict=True):
        np.testing.assert_array_equal(a, b)
    # The damaged one neither counts as the newest nor takes a place among the best.
    checkpoints.save(model, TrainingState(epoch=1, step_in_epoch=2, step=3))
    assert [p.name for p in checkpoints.paths()] == ["step=00000001-val_wer=0.5000", "step=00000003"]
    assert checkpoints.restore(model, warn=pytest.fail).epoch == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_damaged(model, checkpoints, damage):
    """A run that started at step 0 would replace its best model and its metrics."""
    for path in [checkpoints.save(model, at(step, 0.5)) for step in (1, 2)]:
        damage(path)
    names = {p.name for p in checkpoints.folder.iterdir()}
    with pytest.raises(UserError, match="checkpoints: no intact checkpoint, 2 damaged;[^\n]*$"):
        checkpoints.restore(model, warn=pytest.fail)
    assert {p.name for p in checkpoints.folder.iterdir()} == names


def test_of_damaged_ones_the_newest_stays(model, checkpoints):
    checkpoints.save_top_k = -1
    for steps in ((2, 3), (4, 5, 6)):
        checkpoints.save(model, at(1, 0.5))
        for step in steps:
            torn(checkpoints.save(model, at(step, 0.4)))
        warnings = []
        assert checkpoints.restore(model, warnings.append, writes=False) == at(1, 0.5)
        assert len(checkpoints.paths()) == 1 + len(steps) and warnings == []
        assert checkpoints.restore(model, warnings.append) == at(1, 0.5)
        assert len(warnings) == len(steps)
        names = {p.name for p in checkpoints.folder.iterdir()}
        assert names == {"step=00000001-val_wer=0.5000", f"damaged-step={steps[-1]:08d}-val_wer=0.4000"}


def test_one_that_cannot_be_read_now_is_not_damaged(model, checkpoints):
    checkpoints.save(model, at(1, 0.5))
    newest = checkpoints.save(model, at(2, 0.4))
    for name in ("variables.npz", "position.json"):
        (newest / name).rename(newest / "away")
        (newest / name).symlink_to("/proc/self/mem")  # reading its start is an input/output error
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            checkpoints.restore(model, warn=pytest.fail)
        (newest / "away").rename(newest / name)
    assert checkpoints.restore(model, warn=pytest.fail).step == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"step": math.nan},
        {"step": -1},
        {"step": "3"},
        {"step": 10**400},
        {"step": True},
        {"step": None},
        {"step": 1.0},
        {"epoch": []},
        {"step_in_epoch": {}},
        {"metrics": {"val_wer": "low"}},
        {"metrics": None},
        {"best": "0.3"},
        {"waited": [1.0]},
        {"waited": [math.nan, 0.5]},
        {"plateau": {"scale": "1"}},
        {"log": [1]},
        {"log": {"rows": math.inf}},
        {"of_tomorrow": 1},
    ],
)
def test_an_unknown_or_malformed_state_is_named_and_stays(model, checkpoints, odd):
    """With a checksum that fits: by a later version, or by hand."""
    checkpoints.save(model, at(1, 0.5))
    path = checkpoints.save(model, at(2, 0.4))
    write_state(path, json.loads((path / "position.json").read_text()) | odd)
    with pytest.raises(UserError, match=f"step=00000002.*position.json: {next(iter(odd))} is [^\n]*$"):
        checkpoints.restore(model, warn=pytest.fail)
    with pytest.raises(UserError, match="position.json"):
        checkpoints.read(path)
    assert len(checkpoints.paths()) == 2
    assert checkpoints.ranked()


def write_state(path, record) -> None:
    """With the checksum that a checkpoint of these files has."""
    record.pop("sha256")
    digest = hashlib.sha256((path / "variables.npz").read_bytes() + json.dumps(record, sort_keys=True).encode())
    (path / "position.json").write_text(json.dumps(record | {"sha256": digest.hexdigest()}))


def npy(shape: str, dtype: str = "<f4") -> bytes:
    """An array of four values that states any shape and type."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)


def npz(array: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("model/0/kernel.npy", array)
    return file.getvalue()


FOREIGN = {
    "no_zip": b"no zip",
    "no_record": npz(npy("(4,)")).replace(b"PK\3\4", b"PK\0\0"),
    "compressed": npz(bytes(1 << 20), zipfile.ZIP_DEFLATED),
    "petabytes": npz(npy(f"({1 << 50},)")),
    "no_shape": npz(npy("(1 << 3,)")),
    "pickle": npz(npy("(4,)", "|O")),
    "cut": npz(b"\x93NUMPY"),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_variables_that_no_training_wrote(model, checkpoints, content):
    path = checkpoints.save(model, at(1))
    (path / "variables.npz").write_bytes(content)
    write_state(path, json.loads((path / "position.json").read_text()))
    for use in (lambda: checkpoints.read(path), lambda: checkpoints.restore(model)):
        with pytest.raises(UserError, match="variables.npz: another program wrote it|made for another model"):
            use()


def test_a_state_of_an_older_version(model, checkpoints):
    path = checkpoints.save(model, at(2, 0.4))
    record = json.loads((path / "position.json").read_text())
    for key in ("log", "plateau", "waited"):
        del record[key]
    write_state(path, record)
    assert checkpoints.restore(model, warn=pytest.fail) == at(2, 0.4)
    del record["step"]
    write_state(path, record | {"sha256": ""})
    with pytest.raises(UserError, match="step is missing"):
        checkpoints.restore(model)


def test_names_that_are_no_checkpoints(model, checkpoints):
    checkpoints.save(model, at(1, 0.5))
    for name in ("step=best", "step=", "notes"):
        (checkpoints.folder / name).mkdir()
    (checkpoints.folder / "step=00000009").touch()
    assert checkpoints.restore(model, warn=pytest.fail) == at(1, 0.5)
    assert len(list(checkpoints.folder.iterdir())) == 5


class Killed(BaseException):
    pass


@pytest.mark.parametrize("again", [False, True])
def test_a_kill_while_one_is_removed_leaves_no_half(model, checkpoints, monkeypatch, again):
    """While the worst is pruned, and while the newest is replaced by one of the same step."""
    checkpoints.save_top_k = 1
    for step, wer in ((1, 0.5), (2, 0.4)):
        checkpoints.save(model, at(step, wer))

    def kill(path, **_):
        next(path.iterdir()).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", kill)
        with pytest.raises(Killed):
            checkpoints.save(model, at(2, 0.4) if again else at(3, 0.3))
    there = checkpoints.paths()
    assert checkpoints.restore(model, warn=pytest.fail, writes=False).step == (2 if again else 3)
    left_over = {p.name for p in checkpoints.folder.iterdir()} - {p.name for p in there}
    assert left_over and all(name.startswith(".") for name in left_over)
    checkpoints.restore(model, warn=pytest.fail)
    assert set(checkpoints.folder.iterdir()) == set(there)


@pytest.mark.parametrize("size", [100, 1000, 2000, 3000, 5000])
def test_a_full_disk_is_one_error(model, checkpoints, monkeypatch, size):
    """And none from an archive that is deleted unfinished."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    quota = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, quota[1]))
    try:
        with pytest.raises(UserError, match="File too large"):
            checkpoints.save(model, at(1, 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, quota)
    gc.collect()
    assert unraisable == [] and list(checkpoints.folder.iterdir()) == []


@pytest.mark.parametrize("crash_at", ["variables", "rename"])
def test_a_crash_while_writing_leaves_the_one_before(model, checkpoints, monkeypatch, crash_at):
    checkpoints.save(model, at(1, 0.5))

    def crash(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", crash) if crash_at == "variables" else broken.setattr("pathlib.Path.rename", crash)
        with pytest.raises(UserError, match="step 2 cannot be written .no space left on device.; make room"):
            checkpoints.save(model, at(2, 0.4))
    assert [p.name for p in checkpoints.paths()] == ["step=00000001-val_wer=0.5000"]
    assert checkpoints.restore(model, warn=pytest.fail) == at(1, 0.5)
    # What the crash left takes no room for long.
    checkpoints.save(model, at(3, 0.4))
    assert sorted(p.name[:13] for p in checkpoints.folder.iterdir()) == ["step=00000001", "step=00000003"]


def test_a_checkpoint_of_another_model_is_an_error(model, checkpoints):
    checkpoints.save(model, at(1))
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    other.compile(NovoGrad(0.1), "mse")
    other.optimizer.build(other.trainable_variables)
    for stranger in (other, small_model(units=4)):
        with pytest.raises(UserError, match="made for another model"):
            checkpoints.restore(stranger)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("of", ["weights", "optimizer"])
def test_values_that_are_not_finite_are_not_saved(checkpoints, of, value):
    model = small_model()
    checkpoints.save(model, at(1, 0.5))
    variable = model.layers[0].kernel if of == "weights" else model.optimizer.variables[-1]
    variable.assign(np.full(variable.shape, value))
    with pytest.raises(DivergedError, match="^step 2: "):
        checkpoints.save(model, at(2, 0.4))
    assert [p.name for p in checkpoints.folder.iterdir()] == ["step=00000001-val_wer=0.5000"]
    assert checkpoints.restore(small_model(), warn=pytest.fail) == at(1, 0.5)
