"""A search on the tiny configuration."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="session")
def write_tune(tiny_config):
    """`write_tune(folder, key=value, ...)`: a file of a search; 3 trials of 1 epoch, of which the second cannot be."""
    base = tiny_config().source

    def write(folder: Path, **changes) -> Path:
        values = {
            "config": base,
            "overrides": ["exp_manager.checkpoint_callback_params={every_n_train_steps: 2, save_top_k: -1}"],
            "tuner": "random",
            "max_trials": 3,
            "max_epochs": 1,
            "seed": 28,
            "output": str(folder / "search"),
            "space": {
                "model.optim.lr": {"type": "float", "min": 0.005, "max": 0.05, "sampling": "log"},
                "model.encoder.jasper.*.dropout": {"type": "choice", "values": [0.0, 0.1]},
                "model.encoder.jasper.1.filters": {"type": "int", "min": 8, "max": 24, "step": 8},
                # The first block's stride is 2, which goes with a dilation of 1 only.
                "model.encoder.jasper.0.dilation": {"type": "choice", "values": [[1], [2]]},
            },
        }
        values |= changes
        file = folder / "tune.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False))
        return file

    return write
