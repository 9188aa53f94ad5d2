"""The CTC head: encoder frames to logits of labels and blank."""

import keras
from keras import ops

from jasper_tf.model.blocks.initialization import weight_initializer


@keras.saving.register_keras_serializable(package="jasper_tf")
class ConvASRDecoder(keras.layers.Layer):
    """A 1x1 convolution with bias, without softmax; float32 whatever the dtype policy.

    NeMo: `ConvASRDecoder`.

    Args:
        num_classes: V, labels without the blank, which becomes class V.
        init_mode: of the weight, see `weight_initializer`; the bias starts as U(+-1/sqrt(C)).
        seed: of the initial weights.

    Call arguments:
        encoded: [B, T', C].

    Returns:
        logits [B, T', V+1] float32.
    """

    def __init__(
        self,
        num_classes: int,
        init_mode: str | None = "xavier_uniform",
        seed: int = 0,
        name: str = "decoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.init_mode = init_mode
        self.seed = seed

    def build(self, encoded_shape):
        channels, classes = encoded_shape[-1], self.num_classes + 1
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, channels, classes),
            initializer=weight_initializer(self.init_mode, self.seed),
            autocast=False,
        )
        bound = channels**-0.5
        self.bias = self.add_weight(
            name="bias",
            shape=(classes,),
            initializer=keras.initializers.RandomUniform(-bound, bound, seed=self.seed + 1),
            autocast=False,
        )

    def call(self, encoded):
        return ops.matmul(ops.cast(encoded, "float32"), self.kernel.value[0]) + self.bias.value

    def compute_output_spec(self, encoded):
        return keras.KerasTensor(self.compute_output_shape(encoded.shape), dtype="float32")

    def compute_output_shape(self, encoded_shape):
        return (*encoded_shape[:-1], self.num_classes + 1)

    def get_config(self):
        own = {"num_classes": self.num_classes, "init_mode": self.init_mode, "seed": self.seed}
        return {**super().get_config(), **own}
