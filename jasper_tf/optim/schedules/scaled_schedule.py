"""Learning-rate schedule times a factor that can change during training."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="jasper_tf")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule times a variable: `scale * schedule(step)`; `ReduceOnPlateau` lowers `scale`.

    Create it under the strategy of the training.

    Args:
        schedule: the rate where `scale` is 1.
        scale: its initial value.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, scale: float = 1.0):
        super().__init__()
        self.schedule = schedule
        # A variable, because a traced step would keep a number as a constant.
        self.scale = keras.Variable(
            scale, dtype="float32", trainable=False, name="scale", aggregation="only_first_replica"
        )

    def __call__(self, step):
        """The rate of optimizer step `step` (scalar integer, from 0), scalar float32."""
        return ops.cast(self.schedule(step), "float32") * ops.convert_to_tensor(self.scale)

    def get_config(self) -> dict:
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "scale": float(ops.convert_to_numpy(self.scale)),
        }

    @classmethod
    def from_config(cls, config: dict) -> "ScaledSchedule":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["scale"])
