"""Description of a recognizer in inference, from raw audio to logits, without any framework.

The writers of LiteRT and ONNX files read this description, not the Keras layers. `read_network` makes it from a model.
Everything that does nothing in inference (dither, masks of SpecAugment, dropout) is absent, and batch normalization is
part of the convolution before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jasper_tf.features.framing import Framing


@dataclass(frozen=True)
class FrontEnd:
    """Raw audio [B,S] to normalized features [B,T,F * splicing]; the order of its steps is `LogMelSpectrogram.call`'s.

    Args:
        sample_rate: of the audio, hertz.
        framing: padding of the audio, hop, and the number of valid frames.
        preemph: y[t] = x[t] - preemph * x[t-1]; None for no pre-emphasis.
        dft: [W, 2K] float64: the window times K cosines, then times K sines, of the K frequencies that `mel` reads.
        dft_start: samples from the start of a frame of `framing.fft_samples` to the first row of `dft`.
        mag_power: exponent on the magnitude of the spectrum.
        mel: [K, F] float32, from the spectrum to mel energies.
        log_guard: ("add" or "clamp", value) of the logarithm; None where energies are not in logarithms.
        splicing: frames stacked into one, see `FrameSplicing`; 1 for none.
        normalize: "per_feature", "all_features", "fixed" or None, see `FeatureNormalization`.
        std_guard: added to the standard deviation of each utterance.
        fixed_mean, fixed_std: [F * splicing] float32 of "fixed", else None.
        pad_to: T is padded on the right to a multiple of it. 0 for no padding, and where it cannot change a valid frame
            of the network's output.
        pad_value: of the features beyond the length.
    """

    sample_rate: int
    framing: Framing
    preemph: float | None
    dft: np.ndarray
    dft_start: int
    mag_power: float
    mel: np.ndarray
    log_guard: tuple[str, float] | None
    splicing: int
    normalize: str | None
    std_guard: float
    fixed_mean: np.ndarray | None
    fixed_std: np.ndarray | None
    pad_to: int
    pad_value: float

    @property
    def dft_padding(self) -> tuple[int, int]:
        """Samples to add on each side of the audio for a convolution of `dft` and the hop; never negative.

        It gives 1 + S // hop frames, or S // hop with `exact_pad`. Where the padding is by reflection
        (`framing.generation` "legacy") or comes before pre-emphasis (`framing.exact_pad`), `framing.pad_samples` are
        added instead, and the first `dft_start` samples left out.
        """
        pad = self.framing.pad_samples
        return pad - self.dft_start, pad - (self.framing.fft_samples - self.dft_start - len(self.dft))


@dataclass(frozen=True)
class Convolution:
    """Convolution along time.

    Args:
        kernel: [k, C_in // groups, C_out] float32.
        bias: [C_out] float32, or None.
        stride, dilation, groups: as usual; depthwise is groups = C_in = C_out.
        padding: frames of zeros added to the left and the right.
        masked: the input must be zero beyond each utterance's length. False where that cannot change a valid frame of
            the network's output, as with a 1x1 convolution.
        scale: [C_out] float32, of 8-bit weights: the kernel has multiples of it. None where it is not rounded.
        keeps_length: T' = T, and utterances keep their lengths.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    stride: int
    dilation: int
    groups: int
    padding: tuple[int, int]
    masked: bool
    scale: np.ndarray | None = None

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.kernel.shape[2] and self.kernel.shape[1] == 1

    @property
    def reach(self) -> int:
        """Frames from the first to the last tap."""
        return self.dilation * (len(self.kernel) - 1)

    @property
    def keeps_length(self) -> bool:
        """Whether T' = T."""
        return self.stride == 1 and sum(self.padding) == self.reach

    def output_length(self, length: Any) -> Any:
        """`MaskedConv1D.output_length`, of whatever has the operators of Python."""
        last_start = length + self.length_offset
        return last_start + 1 if self.stride == 1 else abs(last_start) // self.stride + 1

    @property
    def length_offset(self) -> int:
        """What is added to a length for the last place of the kernel: see `MaskedConv1D.output_length`."""
        return sum(self.padding) - self.reach - 1


@dataclass(frozen=True)
class GroupNormalization:
    """Normalization of each utterance over a group of channels and all T frames, valid or not.

    Args:
        groups: of neighboring channels.
        gamma, beta: [C] float32.
        epsilon: added to the variance.
    """

    groups: int
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class Stage:
    """Convolutions one after the other, then normalization, then the channel shuffle.

    Args:
        convolutions: one, or a depthwise and a pointwise one.
        normalization: None where it was batch normalization: it is in the last convolution.
        shuffle: groups n: channel g * (C // n) + i becomes i * n + g; 1 for no shuffle.
    """

    convolutions: tuple[Convolution, ...]
    normalization: GroupNormalization | None = None
    shuffle: int = 1


@dataclass(frozen=True)
class Excitation:
    """Squeeze-and-excitation: x * sigmoid(activation(mean @ squeeze) @ excite), x and mean over valid frames only.

    The output is zero beyond the length.

    Args:
        squeeze: [C, hidden] float32.
        excite: [hidden, C] float32.
        activation: as `Block.activation`.
    """

    squeeze: np.ndarray
    excite: np.ndarray
    activation: str


@dataclass(frozen=True)
class Residual:
    """A branch that is added before the last activation of a block.

    Args:
        source: 0 is the encoder's input, n the output of block n - 1.
        stage: its 1x1 convolution.
    """

    source: int
    stage: Stage


@dataclass(frozen=True)
class Block:
    """A Jasper block: stages with the activation between them, excitation, residuals, activation.

    Args:
        stages: `repeat` of them.
        activation: Keras's name: "relu", "hard_tanh" (clips to -1 and 1), "selu" or "silu".
        excitation: None for none.
        residuals: summed up with the output of the last stage, or their maximum with it taken.
        residual_mode: "add" or "max".
        counts_lengths: lengths follow the convolutions (`conv_mask`); otherwise they stay those of the features.
    """

    stages: tuple[Stage, ...]
    activation: str
    excitation: Excitation | None
    residuals: tuple[Residual, ...]
    residual_mode: str
    counts_lengths: bool


@dataclass(frozen=True)
class Network:
    """A recognizer: audio [B,S], audio_len [B] -> log-probabilities [B,T',V+1], valid frames [B].

    Args:
        front_end: audio to features.
        blocks: the encoder; a block's input is the output of the one before.
        head: 1x1 convolution with a bias to V + 1 logits; log-softmax follows.
    """

    front_end: FrontEnd
    blocks: tuple[Block, ...]
    head: Convolution

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per encoder frame."""
        strides = [c.stride for block in self.blocks for stage in block.stages for c in stage.convolutions]
        return int(np.prod(strides))

    def convolutions(self) -> Iterator[Convolution]:
        """Yields those of the blocks in the order of computation, residual branches after the stages of their block."""
        for block in self.blocks:
            for stage in (*block.stages, *(residual.stage for residual in block.residuals)):
                yield from stage.convolutions

    def with_convolutions(self, convolutions: Sequence[Convolution]) -> Network:
        """The network with others: those of `convolutions()`, then the head."""
        *others, head = convolutions
        following = iter(others)

        def stage(one: Stage) -> Stage:
            return replace(one, convolutions=tuple(next(following) for _ in one.convolutions))

        blocks = []
        for block in self.blocks:
            stages = tuple(stage(one) for one in block.stages)
            residuals = tuple(replace(residual, stage=stage(residual.stage)) for residual in block.residuals)
            blocks.append(replace(block, stages=stages, residuals=residuals))
        return replace(self, blocks=tuple(blocks), head=head)
