"""Encoder frames by configuration and by model, against what the model itself returns."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jasper_tf.config import config_from_dict
from jasper_tf.features.framing import hop_samples
from jasper_tf.model.frames import audio_framing, encoder_frames
from jasper_tf.model.jasper_ctc import build_model

BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0, "residual": False}


def config(sample_rate, conv_mask=True, jasper=(BLOCK,), augmentor=None, **preprocessor):
    feat_in = 4 * preprocessor.get("frame_splicing", 1)
    return config_from_dict(
        {
            "name": "frames",
            "model": {
                "sample_rate": sample_rate,
                "labels": ["a", "b"],
                "preprocessor": {"features": 4, **preprocessor},
                "train_ds": {"manifest_filepath": "none.jsonl", "batch_size": 1, "augmentor": augmentor},
                "encoder": {"feat_in": feat_in, "conv_mask": conv_mask, "jasper": list(jasper)},
                "decoder": {},
                "optim": {"lr": 0.01},
            },
            "trainer": {"max_epochs": 1},
        }
    )


@settings(max_examples=12, deadline=None)
@given(
    sample_rate=st.sampled_from([8000, 16000, 22050, 48000]),
    window_stride=st.sampled_from([0.009, 0.01, 0.0125]),
    exact_pad=st.booleans(),
    generation=st.sampled_from(["modern", "legacy"]),
    frame_splicing=st.sampled_from([1, 3]),
    conv_mask=st.booleans(),
    lengths=st.lists(st.integers(0, 20000), min_size=1, max_size=4),
)
def test_the_frames_of_the_model(sample_rate, window_stride, exact_pad, lengths, **values):
    hop = hop_samples(window_stride, sample_rate)
    assume(not exact_pad or hop % 2 == 0)
    last = {
        **BLOCK,
        "kernel": [5],
        "repeat": 2,
        "stride_last": True,
        "future_context": 1 if values["conv_mask"] else -1,
    }
    cfg = config(sample_rate, window_stride=window_stride, exact_pad=exact_pad, jasper=[BLOCK, last], **values)
    model = build_model(cfg)
    audio_len = np.array([*lengths, hop * 9 - 1, hop * 9, hop * 8 + hop // 2], np.int32)
    audio = np.zeros((len(audio_len), audio_len.max() + 100), np.float32)
    logit_len = model({"audio": audio, "audio_len": audio_len}, training=False)["logit_len"].numpy().tolist()
    duration_s = audio_len / sample_rate
    assert encoder_frames(cfg, "validation_ds")(duration_s).tolist() == logit_len
    assert [model.output_frames(s) for s in duration_s] == logit_len
    assert audio_framing(cfg).hop_samples == model.hop == hop


def test_training_counts_at_the_highest_speed():
    cfg = config(16000, augmentor={"speed": {"prob": 1.0, "min_speed_rate": 0.8, "max_speed_rate": 1.25}})
    assert encoder_frames(cfg, "train_ds")(np.array([1.0, 0.5])).tolist() == [40, 20]
    assert encoder_frames(cfg, "validation_ds")(np.array([1.0, 0.5])).tolist() == [50, 25]
