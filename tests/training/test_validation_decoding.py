"""The error rates of a training are those of the greedy decoder, whatever decodes later."""

import dataclasses

import numpy as np
import tensorflow as tf

from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.trainer import compile_model


def test_a_beam_in_the_configuration_is_not_loaded(tiny_config, tmp_path):
    cfg = tiny_config()
    beam = {"ngram_lm_model": str(tmp_path / "absent.arpa")}
    cfg.model.decoding = read_decoding({"strategy": "beam", "beam": beam})
    model = build_model(cfg)
    compile_model(model, cfg, 10)
    audio = np.random.default_rng(0).normal(scale=0.1, size=(2, 16000)).astype(np.float32)
    x = {"audio": audio, "audio_len": np.array([16000, 12000], np.int32)}
    y = {"labels": np.ones((2, 3), np.int32), "label_len": np.array([3, 2], np.int32)}
    found = model.evaluate(tf.data.Dataset.from_tensors((x, y)), verbose=0, return_dict=True)
    best = GreedyDecoder()(*model.compute_logits(x["audio"], x["audio_len"])).best()
    assert found["wer"] > 0 and int(best.label_len[0]) > 0
    assert dataclasses.asdict(model.decoding_config) == dataclasses.asdict(cfg.model.decoding)
