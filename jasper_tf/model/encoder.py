"""The encoder: a stack of Jasper blocks as one functional Keras model."""

import inspect
import math
from collections.abc import Sequence

import keras
import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.model.blocks.jasper_block import JasperBlock

_BLOCK_KEYS = tuple(inspect.signature(JasperBlock.__init__).parameters)
_BLOCK_KEYS = _BLOCK_KEYS[_BLOCK_KEYS.index("filters") : _BLOCK_KEYS.index("activation")]
# NeMo reads this key and does not use it.
_IGNORED_KEYS = ("se_interpolation_mode",)


@keras.saving.register_keras_serializable(package="jasper_tf")
class ConvASREncoder(keras.Model):
    """Jasper, QuartzNet and Citrinet encoders (arXiv 1904.03288, 1910.10261, 2104.01721). NeMo: `ConvASREncoder`.

    Args:
        feat_in: F, features per frame before splicing.
        jasper: one dict per block, the keys of `JasperBlock` up to `future_context`; a missing or null
            `residual_mode` takes the encoder's.
        activation: of every block: `relu`, `hardtanh`, `selu` or `swish`.
        conv_mask: zero the input of every convolution beyond the length.
        normalization_mode: `batch`, `layer`, `group` or `instance`.
        residual_mode: `add`, `stride_add` or `max`.
        norm_groups: for `group`; -1 is one per channel.
        init_mode: see `weight_initializer`.
        frame_splicing: frames stacked in the input, which then has `feat_in * frame_splicing` features.
        synchronized: batch-norm statistics over all replicas of a distribution strategy.
        recompute: see `JasperBlock`.
        seed: of initial weights and dropout.

    Call arguments:
        inputs: [features [B, T, F], feature_len [B] int32].

    Returns:
        (encoded [B, T', C], encoded_len [B] int32). Beyond a length the output is not zero.

    Raises:
        UserError: names the block (from 0) and the wrong key.

    Example:
        encoder = ConvASREncoder(64, [{"filters": 256, "repeat": 1, "kernel": 11, "stride": 2, "residual": False}])
        encoded, encoded_len = encoder([features, feature_len])
    """

    def __init__(
        self,
        feat_in: int,
        jasper: list[dict],
        activation: str = "relu",
        conv_mask: bool = True,
        normalization_mode: str = "batch",
        residual_mode: str = "add",
        norm_groups: int = -1,
        init_mode: str | None = "xavier_uniform",
        frame_splicing: int = 1,
        synchronized: bool = False,
        recompute: bool = False,
        seed: int = 0,
        name: str = "encoder",
        dtype=None,
        **kwargs,
    ):
        shared = {
            "activation": activation,
            "conv_mask": conv_mask,
            "normalization_mode": normalization_mode,
            "norm_groups": norm_groups,
            "init_mode": init_mode,
            "synchronized": synchronized,
            "recompute": recompute,
            "dtype": dtype,
        }
        blocks = build_blocks(jasper, residual_mode, seed, **shared)
        features = keras.Input((None, feat_in * frame_splicing), name="features", dtype="float32")
        feature_len = keras.Input((), name="feature_len", dtype="int32")
        panes, length = [features], feature_len
        for number, block in enumerate(blocks):
            try:
                encoded, length = block(panes, length)
            except UserError as error:
                raise UserError(f"jasper[{number}].{error}") from error
            panes = [*panes, encoded] if block.residual_dense else [encoded]
        super().__init__(inputs=[features, feature_len], outputs=(encoded, length), name=name, **kwargs)

        self.blocks = blocks
        self.dtype_policy = keras.dtype_policies.get(dtype) if dtype is not None else keras.config.dtype_policy()
        self._arguments = {
            "feat_in": feat_in,
            "jasper": [dict(entry) for entry in jasper],
            "residual_mode": residual_mode,
            "frame_splicing": frame_splicing,
            "seed": seed,
            **{key: value for key, value in shared.items() if key != "dtype"},
        }

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per encoder frame."""
        return math.prod(block.subsampling_factor for block in self.blocks)

    @property
    def filters(self) -> int:
        """C, channels of the output."""
        return self.blocks[-1].filters

    def with_blocks(self, numbers: Sequence[int]) -> keras.Model:
        """Builds a model of the same layers that returns (encoded, encoded_len) of these blocks, then of the last."""
        return keras.Model(self.inputs, [self.blocks[number].output for number in (*numbers, -1)])

    def get_config(self):
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        return {**self._arguments, "name": self.name, "trainable": self.trainable, "dtype": policy}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build_blocks(jasper: list[dict], residual_mode: str = "add", seed: int = 0, **shared) -> list[JasperBlock]:
    """Makes the blocks of an encoder, without weights yet; arguments as in `ConvASREncoder`."""
    if not jasper:
        raise UserError("jasper: no block; give at least one")
    block_seeds = np.random.SeedSequence(seed).generate_state(len(jasper))
    blocks = []
    for number, (entry, block_seed) in enumerate(zip(jasper, block_seeds, strict=True)):
        arguments = _block_arguments(number, entry, residual_mode)
        try:
            block = JasperBlock(**arguments, **shared, seed=int(block_seed >> 1), name=f"block_{number}")
        except UserError as error:
            raise UserError(f"jasper[{number}].{error}") from error
        blocks.append(block)
    return blocks


def output_length(blocks: Sequence[JasperBlock], length):
    """Returns encoded_len for feature_len, an int or an integer array."""
    for block in blocks:
        length = block.output_length(length)
    return length


def _block_arguments(number: int, entry: dict, residual_mode: str) -> dict:
    """The arguments of `JasperBlock` from an entry; the residual mode defaults to the encoder's."""
    for key in entry:
        if key not in _BLOCK_KEYS and key not in _IGNORED_KEYS:
            raise UserError(f"jasper[{number}].{key}: unknown; a block knows {', '.join(_BLOCK_KEYS)}")
    if "filters" not in entry:
        raise UserError(f"jasper[{number}].filters: missing; give the number of output channels")
    arguments = {key: value for key, value in entry.items() if key not in _IGNORED_KEYS}
    arguments["residual_mode"] = entry.get("residual_mode") or residual_mode
    return arguments
