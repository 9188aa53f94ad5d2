"""A recognizer in two steps: audio to features, features to log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from jasper_tf.features.normalize import FeatureNormalization

if TYPE_CHECKING:  # the model makes them
    from jasper_tf.model.jasper_ctc import JasperCTC


class AcousticStages:
    """The layers of a JasperCTC as two traced functions, between which features can be kept and normalized otherwise.

    Args:
        model: whose layers they are.

    Attributes:
        features: audio [S] float32 -> features [T,F], not normalized, T valid frames.
        log_probs: features [T,F], mean [F], std [F] (see `FeatureNormalization.normalize_with`) -> [T',V+1].
        splicing: frames in each of the features.
        size: F.
        classes: V+1.
        normalization: the layer between the two.
    """

    def __init__(self, model: JasperCTC):
        layers = {layer.name: layer for layer in model.layers}
        log_mel, splicing = layers["log_mel"], layers.get("splicing")
        normalization: FeatureNormalization = layers["normalization"]
        self.splicing = splicing.frame_splicing if splicing else 1
        self.normalization = normalization
        self.size = size = log_mel.features * self.splicing
        self.classes = len(model.tokenizer) + 1
        vector = tf.TensorSpec([size], tf.float32)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        def features(audio):
            found, feature_len = log_mel(audio[None], tf.shape(audio))
            if splicing:
                found, feature_len = splicing(found, feature_len)
            return found[0, : feature_len[0]]

        @tf.function(input_signature=[tf.TensorSpec([None, size], tf.float32), vector, vector], autograph=False)
        def log_probs(features, mean, std):
            normalized = normalization.normalize_with(features[None], tf.shape(features)[:1], mean, std)
            encoded, encoded_len = model.encoder(list(normalized), training=False)
            return tf.nn.log_softmax(model.decoder(encoded)[0, : encoded_len[0]])

        self.features, self.log_probs = features, log_probs
