"""What others do of the same work: NVIDIA NeMo, plain PyTorch, pyctcdecode, TensorFlowASR."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import gzip
import logging
import tempfile
import time
from pathlib import Path

import work


def _torch():
    import torch

    torch.set_num_threads(work.THREADS)
    return torch


def _nemo_model(config: str):
    """NeMo's model of one of this package's configurations, with random weights."""
    torch = _torch()
    from nemo.collections.asr.models import EncDecCTCModel
    from nemo.utils import logging as nemo_logging
    from omegaconf import OmegaConf, open_dict

    nemo_logging.setLevel(nemo_logging.ERROR)
    cfg = OmegaConf.load(work.ROOT / config).model
    modules = "nemo.collections.asr.modules"
    with open_dict(cfg):
        for section in ("train_ds", "validation_ds", "test_ds", "optim", "decoding"):
            cfg.pop(section, None)
        cfg.preprocessor._target_ = f"{modules}.AudioToMelSpectrogramPreprocessor"
        cfg.preprocessor.sample_rate = work.RATE
        cfg.encoder._target_ = f"{modules}.ConvASREncoder"
        cfg.decoder = {
            "_target_": f"{modules}.ConvASRDecoder",
            "feat_in": cfg.encoder.jasper[-1].filters,
            "num_classes": len(cfg.labels),
            "vocabulary": list(cfg.labels),
        }
        if "spec_augment" in cfg:
            cfg.spec_augment._target_ = f"{modules}.SpectrogramAugmentation"
    torch.manual_seed(0)
    return EncDecCTCModel(cfg=OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)))


def nemo_step(config: str, batch: int, seconds: float, size: int):
    """A whole step: features, forward, CTC, backward, NeMo's NovoGrad."""
    torch = _torch()
    from nemo.core.optim.novograd import Novograd

    model = _nemo_model(config).train()
    optimizer = Novograd(model.parameters(), lr=0.01, betas=(0.8, 0.5), weight_decay=0.001)
    audio, audio_len = map(torch.from_numpy, work.recordings(batch, seconds))
    labels, label_len = map(torch.from_numpy, work.labels(batch, size))
    audio_len, labels, label_len = audio_len.long(), labels.long(), label_len.long()

    def run():
        log_probs, lengths, _ = model(input_signal=audio, input_signal_length=audio_len)
        loss = model.loss(log_probs=log_probs, targets=labels, input_lengths=lengths, target_lengths=label_len)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def tensorflow_asr_step(config: str, batch: int, seconds: float, size: int):
    """TensorFlowASR's own training step of its Jasper, with blocks as in the configuration, and Adam."""
    import tensorflow as tf
    import yaml
    from tensorflow_asr.models.ctc.jasper import Jasper

    model_config = yaml.safe_load((work.ROOT / config).read_text())["model"]
    first, *blocks, second, third = model_config["encoder"]["jasper"]
    features = model_config["preprocessor"]
    model = Jasper(
        blank=0,
        vocab_size=work.CLASSES + 1,
        speech_config={
            "sample_rate": work.RATE,
            "frame_ms": 1000 * features["window_size"],
            "stride_ms": 1000 * features["window_stride"],
            "num_feature_bins": features["features"],
            "nfft": features["n_fft"],
            "normalize_zscore": True,
        },
        dense=blocks[0]["residual_dense"],
        nsubblocks=blocks[0]["repeat"],
        block_channels=[block["filters"] for block in blocks],
        block_kernels=[block["kernel"][0] for block in blocks],
        block_dropout=[block["dropout"] for block in blocks],
        **_additional_block("first", first),
        **_additional_block("second", second),
        **_additional_block("third", third),
    )
    model.make([None], [None], batch_size=batch)
    model.compile("adam")
    model.make_train_function()
    (audio, audio_len), (labels, label_len) = work.recordings(batch, seconds), work.labels(batch, size)
    labels = labels + 1  # its blank is 0
    x = {"inputs": audio, "inputs_length": audio_len, "predictions": labels, "predictions_length": label_len}
    batches = iter(tf.data.Dataset.from_tensors((x, {"labels": labels, "labels_length": label_len})).repeat())

    def run():
        model.train_function(batches, None)[0]["loss"].numpy()

    return run


def _additional_block(name: str, block: dict) -> dict:
    values = {
        "channels": block["filters"],
        "kernels": block["kernel"][0],
        "strides": block["stride"][0],
        "dilation": block["dilation"][0],
        "dropout": block["dropout"],
    }
    return {f"{name}_additional_block_{key}": value for key, value in values.items()}


def nemo_inference(config: str):
    """Audio to log-probabilities."""
    torch = _torch()
    model = _nemo_model(config).eval()

    def run(batch: int, seconds: float):
        audio, audio_len = map(torch.from_numpy, work.recordings(batch, seconds))
        with torch.inference_mode():
            model(input_signal=audio, input_signal_length=audio_len.long())[0].numpy()

    return run


def nemo_features(config: str):
    """Audio to normalized log-mels."""
    torch = _torch()
    preprocessor = _nemo_model(config).eval().preprocessor

    def run(batch: int, seconds: float):
        audio, audio_len = map(torch.from_numpy, work.recordings(batch, seconds))
        with torch.inference_mode():
            preprocessor(input_signal=audio, length=audio_len.long())[0].numpy()

    return run


def nemo_greedy():
    """Log-probabilities to text."""
    torch = _torch()
    from nemo.collections.asr.parts.submodules.ctc_decoding import CTCDecoding
    from omegaconf import OmegaConf

    decoding = CTCDecoding(OmegaConf.create({"strategy": "greedy_batch"}), [*" abcdefghijklmnopqrstuvwxyz'"])

    def run(batch: int, frames: int):
        log_probs, lengths = map(torch.from_numpy, work.spoken_log_probs(batch, frames))
        decoding.ctc_decoder_predictions_tensor(log_probs, decoder_lengths=lengths)

    return run


def nemo_onnx_export(config: str):
    """NeMo's export of encoder and decoder, without features and without verification."""
    model = _nemo_model(config).eval()

    def run():
        with tempfile.TemporaryDirectory() as folder:
            model.export(str(Path(folder, "model.onnx")), check_trace=False)

    return run


def torch_ctc():
    """Loss and its gradient with respect to the logits."""
    torch = _torch()

    def run(batch: int, frames: int, size: int):
        labels, label_len = map(torch.from_numpy, work.labels(batch, size))
        logits, logit_len = map(torch.from_numpy, work.logits(batch, frames))
        given = labels.long(), logit_len.long(), label_len.long()
        logits.requires_grad_()
        log_probs = torch.nn.functional.log_softmax(logits, -1).transpose(0, 1)
        torch.nn.functional.ctc_loss(log_probs, *given, blank=work.CLASSES, reduction="sum").backward()
        logits.grad.numpy()

    return run


class _Recordings:
    """A map-style data set of FLAC files."""

    def __init__(self, manifest: Path, epochs: int):
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        self.files = epochs * [str(manifest.parent / line["audio_filepath"]) for line in lines]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        import soundfile

        return soundfile.read(self.files[index], dtype="float32")[0]


def _pad(rows):
    torch = _torch()
    rows = [torch.from_numpy(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def torch_batches(files: int, seconds: float):
    """FLAC files to shuffled padded batches of 16: DataLoader with a process for each processor, soundfile."""
    torch = _torch()
    recordings = _Recordings(work.flac_corpus(files, seconds), 2)
    loader = torch.utils.data.DataLoader(
        recordings, batch_size=16, shuffle=True, num_workers=work.THREADS, collate_fn=_pad
    )

    def run():
        batches = iter(loader)
        next(batches)
        began = time.perf_counter()
        for audio, _ in batches:
            assert audio.shape[0]
        return time.perf_counter() - began

    return run


def pyctcdecode_beam(beam_size: int):
    """The same search by pyctcdecode, one utterance after the other, as it always does."""
    from pyctcdecode import build_ctcdecoder

    logging.disable(logging.WARNING)
    pieces, log_probs = work.noisy_log_probs()
    text = gzip.decompress(work.word_3gram().read_bytes())
    words = [line.split(b"\t")[1].decode() for line in text.split(b"\\2-grams:")[0].splitlines() if b"\t" in line]
    with tempfile.NamedTemporaryFile(suffix=".arpa") as unpacked:
        unpacked.write(text)
        unpacked.flush()
        words = [word for word in words if not word.startswith("<")]
        alpha, beta = work.BEAM["ngram_lm_alpha"], work.BEAM["beam_beta"]
        decoder = build_ctcdecoder([*pieces, ""], unpacked.name, words, alpha=alpha, beta=beta)

    def run():
        for values in log_probs:
            decoder.decode(values, beam_width=beam_size)

    return run
