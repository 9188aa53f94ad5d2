"""What NVIDIA NeMo makes of .nemo archives; runs in an environment of its own (`make nemo-parity`).

python nemo_reference.py INPUT.npz MODEL.nemo ...

INPUT.npz holds audio [B,S] float32, audio_len [B] and paths [N] of recordings. Beside each archive appears MODEL.npz:
features [B,F,T], feature_len [B], log_probs [B,T',V+1], log_prob_len [B], and texts [N] as `transcribe` gives them.
"""

import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import sys
from pathlib import Path

import numpy as np
import torch
from nemo.collections.asr.models import EncDecCTCModel
from nemo.utils import logging

logging.setLevel(logging.ERROR)
given = np.load(sys.argv[1])
audio, audio_len = torch.from_numpy(given["audio"]), torch.from_numpy(given["audio_len"].astype(np.int64))
for archive in map(Path, sys.argv[2:]):
    model = EncDecCTCModel.restore_from(str(archive), map_location="cpu", strict=True).eval()
    with torch.no_grad():
        features, feature_len = model.preprocessor(input_signal=audio, length=audio_len)
        log_probs, log_prob_len, _ = model(input_signal=audio, input_signal_length=audio_len)
    # One by one: group, layer and instance norm see the padding of a batch, in NeMo as here.
    found = model.transcribe(given["paths"].tolist(), batch_size=1, num_workers=0, verbose=False)
    np.savez(
        archive.with_suffix(".npz"),
        features=features.numpy(),
        feature_len=feature_len.numpy(),
        log_probs=log_probs.numpy(),
        log_prob_len=log_prob_len.numpy(),
        texts=np.array([hypothesis.text for hypothesis in found]),
    )
