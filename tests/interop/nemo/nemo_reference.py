"""What NVIDIA NeMo makes of .nemo archives; runs in an environment of its own (`make nemo-parity`).

python nemo_reference.py INPUT.npz MODEL.nemo ...

INPUT.npz holds audio [B,S] float32, audio_len [B], their labels [B,U] and label_len [B], paths [N] of recordings, and
given [M], texts.
Beside each archive appears MODEL.npz: features [B,F,T], feature_len [B], log_probs [B,T',V+1], log_prob_len [B], and
texts [N] as `transcribe` gives them; of a model with interctc also loss and grad_norm of a training step, and the
losses that the first is made of. Of a model of word pieces also given, ids [M] (JSON) and back [M], the texts of these,
and the archive MODEL.saved.nemo that NeMo saves.
"""

import json
import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import sys
from pathlib import Path

import numpy as np
import torch
from nemo.collections.asr.models import EncDecCTCModel
from nemo.core.classes.mixins import AccessMixin
from nemo.utils import logging

logging.setLevel(logging.ERROR)
given = np.load(sys.argv[1])
labels, label_len = torch.from_numpy(given["labels"]), torch.from_numpy(given["label_len"])
audio, audio_len = torch.from_numpy(given["audio"]), torch.from_numpy(given["audio_len"].astype(np.int64))


def training_step(model: EncDecCTCModel) -> dict[str, float]:
    """As EncDecCTCModel.training_step, which wants a Trainer; batch norm takes the statistics of the batch."""
    model.train()
    AccessMixin.set_access_enabled(access_enabled=True, guid=model.model_guid)
    log_probs, log_prob_len, _ = model(input_signal=audio, input_signal_length=audio_len)
    loss = model.loss(log_probs=log_probs, targets=labels, input_lengths=log_prob_len, target_lengths=label_len)
    final_loss = loss.item()
    loss, parts = model.add_interctc_losses(loss, labels, label_len, compute_wer=False)
    loss.backward()
    norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]))
    # NeMo's own final_loss is the tensor that it adds the other losses to: the whole, not the last block's.
    return {name: float(part) for name, part in parts.items()} | {
        "loss": loss.item(),
        "final_loss": final_loss,
        "grad_norm": norm.item(),
    }


for archive in map(Path, sys.argv[2:]):
    model = EncDecCTCModel.restore_from(str(archive), map_location="cpu", strict=True).eval()
    with torch.no_grad():
        features, feature_len = model.preprocessor(input_signal=audio, length=audio_len)
        log_probs, log_prob_len, _ = model(input_signal=audio, input_signal_length=audio_len)
    # One by one: group, layer and instance norm see the padding of a batch, in NeMo as here.
    found = model.transcribe(given["paths"].tolist(), batch_size=1, num_workers=0, verbose=False)
    step = {}
    if model.is_interctc_enabled():
        step = training_step(model)
    pieces = {}
    if hasattr(model, "tokenizer"):
        model.save_to(str(archive.with_suffix(".saved.nemo")))
        ids = [model.tokenizer.text_to_ids(text) for text in given["given"].tolist()]
        back = [model.tokenizer.ids_to_text(row) for row in ids]
        pieces = {"given": given["given"], "ids": np.array([json.dumps(row) for row in ids]), "back": np.array(back)}
    np.savez(
        archive.with_suffix(".npz"),
        features=features.numpy(),
        feature_len=feature_len.numpy(),
        log_probs=log_probs.numpy(),
        log_prob_len=log_prob_len.numpy(),
        texts=np.array([hypothesis.text for hypothesis in found]),
        **step,
        **pieces,
    )
