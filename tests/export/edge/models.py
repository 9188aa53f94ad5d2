"""Small recognizers with random weights and running statistics, one for each thing that an encoder can be."""

import dataclasses

import numpy as np

from jasper_tf.config import PreprocessorConfig
from jasper_tf.model.jasper_ctc import JasperCTC

LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
_STEM = {"filters": 16, "repeat": 1, "kernel": [5], "stride": [2], "residual": False}
_WIDE = {"filters": 16, "repeat": 2, "kernel": [7], "residual": True}
_DEEP = {**_WIDE, "separable": True}

FRONT_ENDS = {
    "usual": {},
    "no_preemphasis": {"preemph": None},
    "reflected": {"generation": "legacy"},
    "exact_pad": {"exact_pad": True},
    "exact_pad_reflected": {"exact_pad": True, "generation": "legacy"},
    "hop_longer_than_window": {"exact_pad": True, "window_size": 0.008, "n_fft": 256},
    "odd_window": {"window_size": 0.0201, "window_stride": 0.0081, "n_fft": 400},
    "clamped": {"log_zero_guard_type": "clamp", "log_zero_guard_value": "eps"},
    "energies": {"log": False},
    "magnitudes": {"mag_power": 1.0, "lowfreq": 100, "highfreq": 6000, "mel_norm": None},
    "all_features": {"normalize": "all_features", "window": "hamming"},
    "not_normalized": {"normalize": None},
    "fixed": {"normalize": {"fixed_mean": [-7.0] * 16, "fixed_std": [2.5] * 16}},
    "spliced": {"frame_splicing": 3},
    "live": {"normalize": None, "frame_splicing": 2, "preemph": None, "window_size": 0.0201, "n_fft": 400},
    "pad_value": {"pad_value": 0.7, "pad_to": 8},
}
ENCODERS = {
    "plain": ([_STEM, _WIDE], {}),
    "strided_twice": ([_STEM, {**_STEM, "kernel": [4], "stride": [3]}], {}),
    "even_kernel": ([_STEM, {**_WIDE, "kernel": [6], "kernel_size_factor": 0.7}], {}),
    "dilated": ([_STEM, {**_WIDE, "dilation": [2]}], {}),
    "separable": ([_STEM, _DEEP], {}),
    "heads": ([_STEM, {**_DEEP, "heads": 4}], {}),
    "groups": ([_STEM, {**_WIDE, "groups": 4}, {**_DEEP, "groups": 2}], {}),
    "dense": ([_STEM, {**_WIDE, "residual_dense": True}, {**_DEEP, "residual_dense": True, "filters": 24}, _WIDE], {}),
    "maximum": (
        [_STEM, {**_WIDE, "residual_dense": True}, {**_WIDE, "residual_dense": True}],
        {"residual_mode": "max"},
    ),
    "strided_residual": (
        [_STEM, {**_DEEP, "stride": [2], "stride_last": True, "residual_mode": "stride_add", "se": True}],
        {},
    ),
    "excitation": ([_STEM, {**_WIDE, "se": True, "se_context_size": 4}], {"activation": "swish"}),
    "future_context": (
        [_STEM, {**_WIDE, "future_context": 1}, {**_DEEP, "future_context": 0, "dilation": [2], "residual": False}],
        {},
    ),
    "no_mask": ([_STEM, {**_WIDE, "se": True}], {"conv_mask": False}),
    "layer_norm": ([_STEM, _WIDE], {"normalization_mode": "layer"}),
    "group_norm": ([_STEM, _DEEP], {"normalization_mode": "group", "norm_groups": 4}),
    "instance_norm": ([_STEM, {**_WIDE, "groups": 2}], {"normalization_mode": "instance"}),
    "selu": ([_STEM, _WIDE], {"activation": "selu"}),
    "hardtanh": ([_STEM, {**_WIDE, "se": True}], {"activation": "hardtanh"}),
}


def small_model(front_end: str = "usual", encoder: str = "plain", blocks: list[dict] | None = None) -> JasperCTC:
    preprocessor = dataclasses.asdict(PreprocessorConfig()) | {"features": 16, **FRONT_ENDS[front_end]}
    blocks, options = ENCODERS[encoder] if blocks is None else (blocks, {})
    arguments = {"feat_in": 16, "jasper": blocks, "frame_splicing": preprocessor["frame_splicing"], **options}
    model = JasperCTC(LABELS, preprocessor, arguments, seed=3)
    random = np.random.default_rng(5)
    for variable in model.variables:
        if variable.name in ("beta", "moving_mean"):
            variable.assign(random.normal(0, 0.3, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def some_audio() -> tuple[np.ndarray, np.ndarray]:
    """A padded batch [4,S]: noise of several levels, the third row short."""
    random = np.random.default_rng(7)
    audio_len = np.array([16000, 11111, 700, 14000], np.int32)
    audio = np.zeros((4, 16000), np.float32)
    for row, samples, level in zip(audio, audio_len, (0.1, 0.01, 0.3, 1e-3), strict=True):
        row[:samples] = random.normal(0, level, samples) * np.hanning(samples)
    return audio, audio_len
