"""AdamW whose step is two kernels for each tensor."""

import keras
from keras import ops

from jasper_tf.optim.in_place import resource_of, updates_in_place

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="jasper_tf")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with the same arguments, state and formulas.

    For each tensor p with gradient g, step t from 1, and two moments m and v, 0 at first:

        p <- p - learning_rate weight_decay p
        m <- beta_1 m + (1 - beta_1) g
        v <- beta_2 v + (1 - beta_2) g^2
        p <- p - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Keras takes some twenty operations for each tensor. On TensorFlow, without a distribution strategy and amsgrad, the
    decay is one kernel here, and the other three formulas are another.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One step for one variable; called by the base class."""
        if not self._in_place(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index, resource = self._get_variable_index(variable), resource_of(variable)
        rate, step = ops.cast(learning_rate, "float32"), ops.cast(self.iterations + 1, "float32")
        if self.weight_decay and self._use_weight_decay(variable):
            value = ops.convert_to_tensor(variable)
            tf.raw_ops.ResourceApplyGradientDescent(var=resource, alpha=rate * self.weight_decay, delta=value)
        tf.raw_ops.ResourceApplyAdam(
            var=resource,
            m=resource_of(self._momentums[index]),
            v=resource_of(self._velocities[index]),
            beta1_power=ops.power(self.beta_1, step),
            beta2_power=ops.power(self.beta_2, step),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, "float32"),
        )

    def _in_place(self, variable) -> bool:
        return not self.amsgrad and updates_in_place(variable)

    def _apply_weight_decay(self, variables) -> None:
        super()._apply_weight_decay([variable for variable in variables if not self._in_place(variable)])
