"""Cut the reference numbers of NeMo down to what the tests read: python tests/golden/trim_golden.py SOURCE_FOLDER."""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def trim_features(source: Path) -> None:
    """features.npz: the std configurations whole, of the others the utterances that show most; without splicing.

    `<key>/rows` holds the rows of the batch that were kept; an array equal to an earlier one is stored as its key;
    the junk batch is the clean one plus `wave/junk/beyond`.
    """
    full = np.load(source / "features.npz")
    kept: dict[str, np.ndarray] = {k: full[k] for k in full.files if k.startswith(("wave/", "normbatch/"))}
    kept["wave/junk/beyond"] = kept.pop("wave/junk/x") - kept["wave/clean/x"]
    for key in full.files:
        generation, name, *rest = key.split("/")
        if generation not in ("modern", "legacy") or name.startswith("splice") or rest == ["window"]:
            continue
        value = full[key]
        if (
            rest[-1] == "y"
            and rest[0] in ("clean", "junk")
            and (generation, name)
            not in (
                ("modern", "std"),
                ("modern", "std_pad16"),
            )
        ):
            # The longest row shows reflection at the batch's end, the shortest what lies beyond a length.
            rows = [0, 3] if (generation, name) in (("legacy", "std"), ("legacy", "exact_pad")) else [3]
            kept[key.removesuffix("y") + "rows"] = np.array(rows)
            value = value[rows]
        twin = next((k for k, v in kept.items() if v.size > 64 and np.array_equal(v, value)), None)
        kept[key] = value if twin is None else np.array(twin)
    np.savez_compressed(HERE / "features.npz", **kept)
    configs = json.loads((source / "features.json").read_text())["configs"]
    configs = {k: v for k, v in configs.items() if not k.startswith("splice")}
    (HERE / "features.json").write_text(json.dumps({"configs": configs}, indent=1) + "\n")


def trim_specaug(source: Path) -> None:
    """specaug.json: the vectorized statistics and the cutout."""
    full = json.loads((source / "specaug.json").read_text())
    kept = {k: v for k, v in full.items() if "vectorized=False" not in k}
    (HERE / "specaug.json").write_text(json.dumps(kept) + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    trim_features(folder)
    trim_specaug(folder)
