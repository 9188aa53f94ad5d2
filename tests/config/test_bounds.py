"""Odd numbers anywhere in a configuration: it starts, or one line says what is wrong; no hang, no memory."""

import contextlib
import copy
import dataclasses
import json
import math
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import yaml

from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.config import config_from_dict, load_config
from jasper_tf.errors import UserError
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.model.memory_estimate import require_memory
from jasper_tf.training.run_data import read_data
from jasper_tf.training.trainer import compile_model

ROOT = Path(__file__).parent.parent.parent
WHOLE = [
    -1,
    0,
    1,
    2,
    3,
    7,
    100,
    1001,
    65_537,
    10**6,
    10**9,
    2**31,
    2**32 - 1,
    2**32,
    2**63,
    10**21,
    10**400,
    -(10**400),
]
REAL = [-0.0, 0.5, 1.0, 1e-320, 1e-9, 1e9, 1e21, 1e300, 1e308, -1e308, math.inf, -math.inf, math.nan]
OTHER = [True, False, None, "", "x", "???", "1e999", "9" * 400, "${seed}", "${", "a\nb", "\0", [], [1], [10**400], {}]
VALUES = [*WHOLE, *REAL, *OTHER, {"a": 10**400}, {1: 1}, {"hours": 1e308}, "99999999999999:0:0:0"]
MOST_BYTES = 2**27


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """configs/an4.yaml with every key that takes a number, few channels, and four utterances."""
    folder = tmp_path_factory.mktemp("bounds")
    with open(folder / "m.json", "w") as manifest:
        for i in range(4):
            soundfile.write(folder / f"{i}.wav", np.random.default_rng(i).uniform(-0.1, 0.1, 8000 + 800 * i), 16000)
            line = {"audio_filepath": f"{i}.wav", "duration": 0.5 + 0.05 * i, "text": "ab"}
            manifest.write(json.dumps(line) + "\n")
    values = yaml.safe_load((ROOT / "configs" / "an4.yaml").read_text())
    model = values["model"]
    for section in ("train_ds", "validation_ds"):
        model[section] |= {"manifest_filepath": str(folder / "m.json"), "batch_size": 2, "max_duration": 20.0}
    model["train_ds"] |= {"batch_duration": 2.0, "min_duration": 0.1, "max_bad_audio": 0.1, "channel_selector": 0}
    model["train_ds"]["augmentor"]["shift"] = {"prob": 1.0, "min_shift_ms": -5.0, "max_shift_ms": 5.0}
    model["train_ds"]["augmentor"]["speed"]["num_rates"] = 3
    front = {"pad_value": 0.0, "preemph": 0.97, "lowfreq": 0.0, "highfreq": 8000.0, "mag_power": 2.0, "features": 16}
    model["preprocessor"] |= front | {"log_zero_guard_value": 1e-7, "frame_splicing": 1}
    model["spec_augment"] |= {"rect_masks": 1, "rect_time": 5, "rect_freq": 5, "mask_value": 0.0}
    model["encoder"] |= {"feat_in": 16, "jasper": model["encoder"]["jasper"][1:3]}
    options = {"se_reduction_ratio": 2, "se_context_size": 10, "groups": 1, "kernel_size_factor": 1.0}
    model["encoder"]["jasper"][0] |= options | {"future_context": -1, "heads": -1, "separable": True, "repeat": 1}
    for block in model["encoder"]["jasper"]:
        block["filters"] = 8
    model["decoder"]["feat_in"] = 8
    model["interctc"]["apply_at_layers"] = [0]
    model["optim"] |= {"eps": 1e-8}
    model["optim"]["sched"] |= {"max_steps": 1000, "constant_steps": 10, "warmup_steps": 5}
    values["trainer"] |= {"max_steps": 1000, "num_nodes": 1, "accumulate_grad_batches": 1, "gradient_clip_val": 1.0}
    values["trainer"] |= {"overfit_batches": 0, "max_time": {"hours": 1}, "max_epochs": 3}
    values["trainer"]["ema"] |= {"start_step": 1, "every_n_steps": 1}
    values["exp_manager"]["checkpoint_callback_params"] |= {"every_n_train_steps": 10, "train_time_interval": 60.0}
    values["exp_manager"]["early_stopping_callback_params"] = {"patience": 3, "min_delta": 0.1}
    start(config_from_dict(values))
    return values


def paths_of(node, at=()):
    """The keys of every value, sections and lists among them; of the labels only one."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        if at[-1:] != ("labels",) or key == 1:
            yield (*at, key)
            yield from paths_of(value, (*at, key))


def start(cfg, before=(None, None)):
    """What train.py does before the first step, and the forward pass of a batch: (what they depend on, the model).

    Where that is as in the call `before`, its model is only compiled again.
    """
    training, validation, total_steps, _ = read_data(cfg, 1)
    rows, samples = training.largest_batch(cfg.trainer.accumulate_grad_batches)
    require_memory(cfg, rows, samples, available=MOST_BYTES)
    key = repr((dataclasses.replace(cfg.model, optim=None), cfg.seed, rows))
    model = before[1] if key == before[0] else build_model(cfg)
    compile_model(model, cfg, total_steps, training.steps_per_epoch)
    if model is before[1]:
        return before
    try:
        x, _ = next(iter(training.dataset()))
    except tf.errors.OpError as error:
        raise user_error_in(error) or error from None
    model(x, training=True)
    return key, model


@contextlib.contextmanager
def at_most(seconds):
    def late(*_):
        raise TimeoutError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutate(tree, path, value):
    values = copy.deepcopy(tree)
    node = values
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return values


def refused(tree, path, value, call):
    """Whether `call(configuration)` refuses the mutation: in one line, and soon."""
    try:
        with at_most(60):
            cfg = config_from_dict(mutate(tree, path, value), "some.yaml")
            cfg.require("model", "trainer")
            call(cfg)
    except UserError as error:
        message = str(error)
        assert "\n" not in message and message.isprintable() and len(message) < 1000, message
        return True
    return False


@pytest.mark.slow
def test_every_mutation(tree):
    """Every value is read; of the numbers that a key takes, the least, the largest and one between start."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failures, whole = [], start(config_from_dict(tree))

    def takes(path, value, call):
        try:
            return not refused(tree, path, value, call)
        except Exception as error:
            name = f"{'.'.join(map(str, path))} = {str(value)[:40]!r}"
            failures.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            return False

    for number, path in enumerate(paths_of(tree)):
        taken = [value for value in VALUES if takes(path, value, lambda cfg: None)]
        numbers = sorted({value for value in taken if type(value) in (int, float)})
        for value in {numbers[at] for at in (0, -1, number % len(numbers))} if numbers else ():
            takes(path, value, lambda cfg: start(cfg, whole))
    assert not failures, "\n".join(failures)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 4 * 2**20  # kB


def test_every_number_has_an_upper_bound(tree):
    """No key takes a number that is larger than anything sensible; what it says names file, key, value and bound."""
    for path in paths_of(tree):
        for value in (10**15, 10**400, -(10**15), 1e308, math.inf):
            if path[-1] == "lr" and 0 < value < 1e30:
                continue
            with pytest.raises(UserError) as caught:
                config_from_dict(mutate(tree, path, value), "some.yaml")
            text = str(caught.value)
            key = ".".join(map(str, path)).removesuffix(".hours")  # durations are named as a whole
            assert text.startswith("some.yaml: ") and len(text) < 500, text
            kind = type(value_at(tree, path))
            if kind in (int, float) and not (kind is int and type(value) is float):
                assert re.match(rf"some.yaml: {re.escape(key)}: .* (out of range|expected|is not a number)", text), text


def value_at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def test_the_bound_is_in_the_message(tmp_path):
    file = tmp_path / "c.yaml"
    text = (ROOT / "configs" / "an4.yaml").read_text().replace("seed: 0\n", f"seed: {'9' * 400}\n")
    file.write_text(text)
    line = text.splitlines().index(f"seed: {'9' * 400}") + 1
    with pytest.raises(UserError) as caught:
        load_config(file)
    assert str(caught.value).startswith(
        f"{file}:{line}: seed: a number of 400 digits is out of range; use a whole number"
    )
    assert str(caught.value).endswith("at least 0 and at most 2,147,483,647")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["model.encoder.jasper.1.repeat=100", "model.encoder.jasper.1.stride=2"], "model.encoder.jasper.1.stride"),
        (["model.preprocessor.window_stride=1e-9"], "model.preprocessor.window_stride"),
        (["model.preprocessor.window_size=1000"], "model.preprocessor.window_size"),
        ([f"model.encoder.jasper.{i}.repeat=100" for i in range(7)] + ["model.encoder.jasper.0.stride=1"], "repeat"),
    ],
)
def test_values_that_are_too_much_together(overrides, key):
    if "repeat" in key:
        overrides += [f"model.encoder.jasper.{i}.{k}" for i in range(7) for k in ("stride=1", "separable=true")]
    with pytest.raises(UserError, match=re.escape(key)):
        load_config(ROOT / "configs" / "an4.yaml", overrides)
