"""Cuts NeMo's encoder fixtures (enc_*.npz and .json) down to what the tests hold: python trim_encoder.py SOURCE.

- jasper_plain and jasper_dr keep their first two or three blocks: the output is that of the last, training keeps
  the running statistics only.
- jasper_se, quartznet, groups keep training whole, but two output channels of each large gradient.
- the others keep evaluation; two that show nothing new are left out.
"""

import json
import sys
from pathlib import Path

import numpy as np

BLOCKS_KEPT = {"jasper_plain": 2, "jasper_dr": 3}
LEFT_OUT = ("splice2", "kernel_factor")
TRAINED = ("jasper_se", "quartznet", "groups")
LARGE = 1000


def trim(name: str, arrays: dict[str, np.ndarray], config: dict) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the configuration that the tests need of one fixture."""
    arrays = {key: value for key, value in arrays.items() if not key.endswith("num_batches_tracked")}
    blocks = BLOCKS_KEPT.get(name)
    kept = {key: value for key, value in arrays.items() if key in ("x", "lens", "eval/y", "eval/lens")}
    kept |= {key: value for key, value in arrays.items() if key.startswith("sd/")}
    if blocks:
        config = {**config, "jasper": config["jasper"][:blocks]}
        kept["eval/y"] = arrays[f"eval/block{blocks - 1}/y"]
        kept["eval/lens"] = arrays[f"eval/block{blocks - 1}/lens"]
        kept |= {key: value for key, value in arrays.items() if key.startswith("train/after/")}
        kept = {
            key: value
            for key, value in kept.items()
            if "encoder." not in key or int(key.split("encoder.")[1].split(".")[0]) < blocks
        }
    if name in TRAINED:
        kept |= {key: value for key, value in arrays.items() if key.startswith("train/")}
    for key, value in kept.items():
        if key.startswith("train/grad/") and value.size > LARGE:
            kept[key] = value[:2]
    return kept, config


def main(source: Path) -> None:
    target, configs = Path(__file__).parent, {}
    for path in sorted(source.glob("enc_*.npz")):
        name = path.stem.removeprefix("enc_")
        if name in LEFT_OUT:
            continue
        meta = json.loads(path.with_suffix(".json").read_text())
        with np.load(path) as arrays:
            kept, configs[name] = trim(name, dict(arrays), meta["config"])
        np.savez_compressed(target / path.name, **kept)
    (target / "enc_configs.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
