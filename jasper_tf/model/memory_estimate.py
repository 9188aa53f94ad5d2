"""Estimates the memory of a model and its training from the configuration, before anything is built."""

from __future__ import annotations

import dataclasses
import os
import re
import resource
from pathlib import Path

from jasper_tf.config import Config
from jasper_tf.errors import UserError
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.encoder import build_blocks
from jasper_tf.model.frames import audio_framing

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
_MEMINFO = Path("/proc/meminfo")
# State values per weight of each optimizer.
_OPTIMIZER_COPIES = {"novograd": 1, "adamw": 2, "adam": 2, "sgd": 1, "adafactor": 0, "lion": 1}
_KEPT_OUTPUTS = 3
"""Tensors that the backward pass needs of each convolution: its input, its output, the normalized output."""
_GIB = 2**30


def estimate_memory(cfg: Config, rows: int = 0, samples: int = 0) -> dict[str, int]:
    """Estimates the bytes of each large part, a coarse lower bound: {"weights of ...; reduce ...": bytes}.

    Args:
        cfg: `model` complete, without `???`.
        rows: utterances in a batch on one device. 0 (default): the weights alone, without gradients and optimizer.
        samples: S of the longest batch.
    """
    model = cfg.model
    optim = model.optim
    copies = 1
    if rows:
        copies += 1 + _OPTIMIZER_COPIES[optim.name] + (cfg.trainer.ema is not None)
    activation_bytes = 2 if "mixed" in str(cfg.trainer.precision) else 4
    framing = audio_framing(cfg)
    frames = int(framing.frames(samples))
    batch_keys = "model.train_ds.batch_size or max_duration, or raise trainer.accumulate_grad_batches"
    bins = framing.fft_samples // 2 + 1
    spectrogram = f"spectrograms of a batch; reduce {batch_keys}, or preprocessor.n_fft"
    found = {spectrogram: 3 * 4 * rows * frames * bins}

    jasper = [dataclasses.asdict(block) for block in model.encoder.jasper]
    blocks = build_blocks(jasper, model.encoder.residual_mode, conv_mask=model.encoder.conv_mask)
    panes, largest, recomputed = [model.encoder.feat_in * model.encoder.frame_splicing], (0, ""), 0
    for number, block in enumerate(blocks):
        channels = panes[-1]
        values = outputs = 0
        key = f"model.encoder.jasper.{number}"
        for repeat, convolution in enumerate(block.convolutions):
            for layer in (*block.depthwise[repeat : repeat + 1], convolution):
                values += (kernel := _kernel_values(layer, channels))
                largest = max(largest, (kernel, key))
                frames = max(0, int(layer.output_length(frames)))
                channels = layer.filters or channels
                outputs += frames * channels
        if block.residual:
            sources = panes if block.residual_dense else panes[-1:]
            values += sum(sources) * block.filters
            outputs += len(sources) * frames * block.filters
        found[f"weights of {key}; reduce its filters, kernel or repeat"] = 4 * copies * values
        activations = _KEPT_OUTPUTS * activation_bytes * rows * outputs
        if model.encoder.recompute:  # of one block at a time; of the others the outputs are kept
            recomputed = max(recomputed, activations)
            activations = activation_bytes * rows * frames * block.filters
        found[f"activations of {key}; reduce {batch_keys}"] = activations
        panes = [*panes, block.filters] if block.residual_dense else [block.filters]
    found[f"activations of the largest block; reduce {batch_keys}"] = recomputed
    # Drawing the initial values takes two more copies.
    found[f"initial values of {largest[1]}; reduce its filters or kernel"] = 2 * 4 * largest[0]
    classes = len(model.labels or ()) + max(0, model.decoder.num_classes if not model.labels else 0) + 1
    found[f"weights of the decoder; reduce {model.labels_key}"] = 4 * copies * panes[-1] * classes
    found[f"logits of a batch; reduce {batch_keys}"] = _KEPT_OUTPUTS * 4 * rows * frames * classes
    return found


def require_memory(cfg: Config, rows: int = 0, samples: int = 0, available: int | None = None) -> None:
    """Requires that the estimate fits the memory.

    Args:
        cfg, rows, samples: see `estimate_memory`.
        available: bytes. Default: what this process may have.

    Raises:
        UserError: the estimate exceeds it; names the largest part.
    """
    available = machine_memory() if available is None else available
    parts = estimate_memory(cfg, rows, samples)
    if (total := sum(parts.values())) > available:
        largest, size = max(parts.items(), key=lambda part: part[1])
        raise UserError(
            f"{cfg.source}: needs about {total / _GIB:,.1f} GiB of memory, this machine has {available / _GIB:,.1f}; "
            f"{size / _GIB:,.1f} are {largest}"
        )


def machine_memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its container's or shell's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_LIMITS:
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limits)


def available_memory() -> int:
    """Bytes of main memory that are free for this process: of the machine, or below its container's limit.

    Files that the system keeps in memory count as free.
    """
    free = [machine_memory()]
    if _MEMINFO.is_file() and (found := re.search(r"MemAvailable:\s*(\d+) kB", _MEMINFO.read_text())):
        free.append(int(found[1]) * 1024)
    for limit, used in zip(_CGROUP_LIMITS, _CGROUP_USED, strict=True):
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
            cached = re.search(r"inactive_file (\d+)", Path(used).with_name("memory.stat").read_text())
        except (OSError, ValueError):  # as above
            continue
        free.append(left + (int(cached[1]) if cached else 0))
    return max(0, min(free))


def _kernel_values(layer: MaskedConv1D, channels: int) -> int:
    if layer.filters is None:  # depthwise
        return layer.kernel_width * (layer.heads if layer.heads > 0 else channels)
    return layer.kernel_width * (channels // layer.groups) * layer.filters
