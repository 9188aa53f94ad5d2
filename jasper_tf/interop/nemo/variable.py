"""One variable under the name and in the layout that a NeMo checkpoint gives it."""

from dataclasses import dataclass

import keras
import numpy as np

from jasper_tf.errors import UserError


@dataclass(frozen=True)
class NemoVariable:
    """A variable of this package and how to get it from, and back to, NeMo's array.

    Attributes:
        variable: the Keras variable.
        axes: `array.transpose(axes)` of NeMo's array is the value of `variable`. Each is its own inverse.
    """

    variable: keras.Variable
    axes: tuple[int, ...] = (0,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the checkpoint."""
        return tuple(self.variable.shape[axis] for axis in self.axes)

    def assign(self, array: np.ndarray) -> None:
        """Takes over an array of the checkpoint. Raises UserError where its shape is another."""
        if tuple(array.shape) != self.shape:
            raise UserError(f"{self.variable.path}: the checkpoint has {tuple(array.shape)}, the model {self.shape}")
        self.variable.assign(np.transpose(array, self.axes))

    def numpy(self) -> np.ndarray:
        """The value as the checkpoint would hold it."""
        return np.transpose(keras.ops.convert_to_numpy(self.variable.value), self.axes)
