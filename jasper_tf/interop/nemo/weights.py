"""Maps NeMo's checkpoints to the variables of a model and back: names and layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.model.blocks.batch_norm import BatchNorm
from jasper_tf.model.blocks.group_norm import GroupNorm
from jasper_tf.model.blocks.jasper_block import JasperBlock
from jasper_tf.model.decoder import ConvASRDecoder
from jasper_tf.model.encoder import ConvASREncoder
from jasper_tf.model.jasper_ctc import JasperCTC

# Relative to the largest value. librosa's filters and torch's window differ by 1e-7, those of a checkpoint that was
# rounded to float16 by 5e-4; another window, mel scale or band edge by 1e-2 and more.
_BUFFER_TOLERANCE = 1e-3
_MOST_NAMES = 8


@dataclass(frozen=True)
class NemoVariable:
    """A variable and its layout in a NeMo checkpoint.

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
        """Sets the variable from an array of the checkpoint.

        Raises:
            UserError: the array has another shape.
        """
        if tuple(array.shape) != self.shape:
            raise UserError(f"{self.variable.path}: the checkpoint has {tuple(array.shape)}, the model {self.shape}")
        self.variable.assign(np.transpose(array, self.axes))

    def numpy(self) -> np.ndarray:
        """The value in the layout of the checkpoint."""
        return np.transpose(keras.ops.convert_to_numpy(self.variable.value), self.axes)


_LINEAR = (1, 0)  # torch: (out, in)
_CONVOLUTION = (2, 1, 0)  # torch: (out, in, kernel)


def nemo_variables(model: JasperCTC) -> dict[str, NemoVariable]:
    """Maps NeMo's names to the variables of encoder and head."""
    return encoder_variables(model.encoder) | decoder_variables(model.decoder)


def encoder_variables(encoder: ConvASREncoder) -> dict[str, NemoVariable]:
    """Maps NeMo's names to the variables of an encoder."""
    blocks = enumerate(encoder.blocks)
    return dict(item for number, block in blocks for item in _block(f"encoder.encoder.{number}", block))


def decoder_variables(decoder: ConvASRDecoder) -> dict[str, NemoVariable]:
    """Maps NeMo's names to weight and bias of a head."""
    name = "decoder.decoder_layers.0"
    return {f"{name}.weight": NemoVariable(decoder.kernel, _CONVOLUTION), f"{name}.bias": NemoVariable(decoder.bias)}


def nemo_buffers(log_mel: LogMelSpectrogram) -> dict[str, np.ndarray]:
    """Maps NeMo's names to the window [samples] (none if rectangular) and the mel filters [1, F, bins]."""
    window = {} if log_mel.window == "none" else {"preprocessor.featurizer.window": log_mel.window_values}
    return window | {"preprocessor.featurizer.fb": log_mel.mel_weights.T[None]}


def _block(prefix: str, block: JasperBlock) -> Iterator[tuple[str, NemoVariable]]:
    """Names under `prefix`.mconv and `prefix`.res, numbered as in NeMo's module lists."""
    # NeMo wraps torch's convolution in a masked one: one level more in the name.
    inner = ".conv" if block.conv_mask else ""
    index = 0
    for number, (convolution, normalization) in enumerate(zip(block.convolutions, block.normalizations, strict=True)):
        for layer in (*block.depthwise[number : number + 1], convolution):
            yield f"{prefix}.mconv.{index}{inner}.weight", NemoVariable(layer.kernel, _CONVOLUTION)
            index += 1
        yield from _normalization(f"{prefix}.mconv.{index}", normalization)
        # Past the normalization, the shuffle if any, activation and dropout.
        index += 3 if block.groups == 1 else 4
    if block.excitation is not None:
        excitation = f"{prefix}.mconv.{index - 2}.fc"
        yield f"{excitation}.0.weight", NemoVariable(block.excitation.squeeze, _LINEAR)
        yield f"{excitation}.2.weight", NemoVariable(block.excitation.excite, _LINEAR)
    branches = zip(block.residual_convolutions, block.residual_normalizations, strict=True)
    for number, (convolution, normalization) in enumerate(branches):
        yield f"{prefix}.res.{number}.0{inner}.weight", NemoVariable(convolution.kernel, _CONVOLUTION)
        yield from _normalization(f"{prefix}.res.{number}.1", normalization)


def _normalization(prefix: str, layer: BatchNorm | GroupNorm) -> Iterator[tuple[str, NemoVariable]]:
    yield f"{prefix}.weight", NemoVariable(layer.gamma)
    yield f"{prefix}.bias", NemoVariable(layer.beta)
    if isinstance(layer, BatchNorm):
        yield f"{prefix}.running_mean", NemoVariable(layer.moving_mean)
        yield f"{prefix}.running_var", NemoVariable(layer.moving_variance)


def checkpoint_of(model: JasperCTC) -> dict[str, np.ndarray]:
    """Returns the tensors of a NeMo checkpoint with the weights of `model`, float32."""
    buffers = nemo_buffers(model.get_layer("log_mel"))
    tensors = {name: np.asarray(array, np.float32) for name, array in buffers.items()}
    for name, variable in nemo_variables(model).items():
        tensors[name] = variable.numpy().astype(np.float32)
        if name.endswith(".running_var"):
            # NeMo requires the count, but does not use it with a fixed momentum.
            tensors[_count_name(name)] = np.zeros((), np.int64)
    return tensors


def assign_checkpoint(model: JasperCTC, checkpoint: Mapping[str, np.ndarray], source: str) -> dict[str, str]:
    """Sets the variables of `model` from the tensors of a NeMo checkpoint, all or none.

    Returns:
        By tensor name: its shape, and the variable that was set from it.

    Raises:
        UserError: names every tensor that is missing, left over or of another shape; window or filters differ from
            those of the configuration.
    """
    variables, buffers = nemo_variables(model), nemo_buffers(model.get_layer("log_mel"))
    counts = {_count_name(name) for name in variables if name.endswith(".running_var")}
    shapes = {name: v.shape for name, v in variables.items()} | {name: b.shape for name, b in buffers.items()}
    wrong = [
        f"{name} {checkpoint[name].shape}, the configuration makes {shape}"
        for name, shape in shapes.items()
        if name in checkpoint and checkpoint[name].shape != shape
    ]
    problems = [
        _listed("missing", shapes.keys() - checkpoint.keys()),
        _listed("left over", checkpoint.keys() - shapes.keys() - counts),
        _listed("of another shape", wrong),
    ]
    if any(problems):
        raise UserError(f"{source}: weights and configuration differ: {'; '.join(filter(None, problems))}")
    differences: dict[str, float] = {}
    for name, ours in buffers.items():
        difference = differences[name] = float(np.max(np.abs(np.asarray(checkpoint[name], np.float64) - ours)))
        if not difference <= _BUFFER_TOLERANCE * np.max(np.abs(ours)):
            raise UserError(
                f"{source}: {name} is not what the preprocessor section makes (up to {difference:.2g} apart); "
                "the model was trained on other features"
            )
    became: dict[str, str] = {}
    for name, array in checkpoint.items():
        if name in variables:
            variables[name].assign(np.asarray(array))
            became[name] = f"{array.shape} -> {variables[name].variable.path}"
        else:
            same = f"as this package computes it, up to {differences.get(name, 0):.1g}"
            became[name] = f"{array.shape} {same}" if name in buffers else f"{array.shape} a count that is not used"
    return became


def _count_name(running_var: str) -> str:
    return running_var.replace("running_var", "num_batches_tracked")


def _listed(what: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return f"{what}: {', '.join(ordered[:_MOST_NAMES])}{more}" if ordered else ""
