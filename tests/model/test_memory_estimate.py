"""The estimate of memory: the weights exactly, what a batch adds, and one line where it is too much."""

from pathlib import Path

import pytest

from jasper_tf.config import load_config
from jasper_tf.errors import UserError
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.model.memory_estimate import estimate_memory, machine_memory, require_memory

ROOT = Path(__file__).parent.parent.parent
AN4 = ROOT / "configs" / "an4.yaml"


def weights(parts):
    return sum(size for name, size in parts.items() if name.startswith("weights"))


@pytest.mark.parametrize("key", [None, "separable", "residual_dense"])
def test_weights_are_those_of_the_model(key):
    cfg = load_config(AN4, [f"model.encoder.jasper.{i}.{key}=true" for i in range(7) if key])
    # Batch norms, biases and squeeze-and-excitation are left out.
    assert 0.85 < weights(estimate_memory(cfg)) / 4 / build_model(cfg).count_params() <= 1


def test_optimizer_and_average_keep_copies():
    cfg = load_config(AN4)  # adamw and an average
    assert weights(estimate_memory(cfg, 1, 16000)) == 5 * weights(estimate_memory(cfg))
    cfg = load_config(
        AN4,
        [
            "trainer.ema=null",
            "exp_manager.checkpoint_callback_params.monitor=val_wer",
            "model.optim={lr: 0.1, name: sgd}",
        ],
    )
    assert weights(estimate_memory(cfg, 1, 16000)) == 3 * weights(estimate_memory(cfg))


def test_activations_grow_with_the_batch_and_shrink_with_the_precision():
    def activations(rows, seconds, *overrides):
        parts = estimate_memory(load_config(AN4, overrides), rows, seconds * 16000)
        return sum(size for name, size in parts.items() if name.startswith("activations"))

    assert activations(8, 10) == 4 * activations(2, 10)
    assert activations(8, 20) == pytest.approx(2 * activations(8, 10), rel=0.01)
    assert activations(8, 10, "trainer.precision=bf16") == activations(8, 10) / 2


@pytest.mark.parametrize(
    ("overrides", "batch", "largest"),
    [
        (
            ["model.encoder.jasper.3.filters=8192", "model.encoder.jasper.3.kernel=999"],
            (),
            "of model.encoder.jasper.3; reduce its filters",
        ),
        ([], (60_000, 160_000), "a batch; reduce model.train_ds.batch_size"),
        (["model.encoder.jasper.1.filters=8192"], (1000, 1_600_000), "activations of model.encoder.jasper.1; reduce"),
    ],
)
def test_too_much_is_refused_before_it_is_built(overrides, batch, largest):
    cfg = load_config(AN4, overrides)
    with pytest.raises(UserError) as caught:
        require_memory(cfg, *batch, available=16 * 2**30)
    assert str(caught.value).startswith(f"{AN4}: needs about ") and largest in str(caught.value)
    assert "this machine has 16.0; " in str(caught.value)


def test_build_model_asks():
    cfg = load_config(
        AN4, [f"model.encoder.jasper.{i}.{key}" for i in (2, 3) for key in ("filters=8192", "kernel=999")]
    )
    assert sum(estimate_memory(cfg).values()) > machine_memory()
    with pytest.raises(UserError, match="GiB"):
        build_model(cfg)
