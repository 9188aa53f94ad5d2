"""Rules of the preprocessor, the encoder, the decoder and `interctc`: sizes that follow from each other."""

from __future__ import annotations

from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.model_schema import MOST_WINDOW_SAMPLES, FixedNormalization, ModelConfig
from jasper_tf.config.source import ConfigSource, Keys

_MOST_CONVOLUTIONS = 1000
_MOST_SUBSAMPLING = 1024


def check_model(model: ModelConfig, source: ConfigSource) -> None:
    """Checks that the layers fit each other. Raises UserError."""
    _check_preprocessor(model, source)
    _check_widths(model, source)
    _check_depth(model, source)
    _check_interctc(model, source)


def _check_preprocessor(model: ModelConfig, source: ConfigSource) -> None:
    front, at = model.preprocessor, ("model", "preprocessor")
    if MISSING not in (front.sample_rate, model.sample_rate) and front.sample_rate != model.sample_rate:
        message = f"{front.sample_rate} Hz, but model.sample_rate is {model.sample_rate}; leave one of them out"
        raise source.error((*at, "sample_rate"), message)
    for key in ("window_size", "window_stride"):
        length_s = getattr(front, key)
        if MISSING not in (length_s, front.sample_rate):
            samples = int(length_s * front.sample_rate)
            if not 1 <= samples <= MOST_WINDOW_SAMPLES:
                message = f"{length_s} s are {samples:,} samples; use at least 1 and at most {MOST_WINDOW_SAMPLES:,}"
                raise source.error((*at, key), message)
    if MISSING not in (front.window_size, front.sample_rate, front.n_fft) and front.n_fft is not None:
        window = int(front.window_size * front.sample_rate)
        if front.n_fft < window:
            raise source.error((*at, "n_fft"), f"{front.n_fft} is shorter than the window of {window} samples")
    if MISSING not in (front.sample_rate, front.lowfreq, front.highfreq):
        top = front.highfreq if front.highfreq is not None else front.sample_rate / 2
        key = "highfreq" if front.highfreq is not None else "lowfreq"
        if top > front.sample_rate / 2 or front.lowfreq >= top:
            message = f"the band from {front.lowfreq} Hz to {top} Hz is not within 0 and {front.sample_rate / 2} Hz"
            raise source.error((*at, key), message)


def _check_widths(model: ModelConfig, source: ConfigSource) -> None:
    """Checks that each layer reads as many features or channels as the one before it makes."""
    front, encoder, decoder = model.preprocessor, model.encoder, model.decoder
    width = None
    if MISSING not in (front.features, front.frame_splicing):
        width = front.features * front.frame_splicing
        if MISSING not in (encoder.feat_in, encoder.frame_splicing):
            found = encoder.feat_in * encoder.frame_splicing
            if found != width:
                message = f"{found}, but the preprocessor makes {width} (features times frame_splicing)"
                raise source.error(("model", "encoder", "feat_in"), message)
    if isinstance(front.normalize, FixedNormalization):
        for key in ("fixed_mean", "fixed_std"):
            count = len(getattr(front.normalize, key))
            if width not in (None, count):
                keys = ("model", "preprocessor", "normalize", key)
                raise source.error(keys, f"{count} numbers for {width} features")
    if encoder.jasper == MISSING:
        return
    if not encoder.jasper:
        raise source.error(("model", "encoder", "jasper"), "no blocks; give at least one")
    last = encoder.jasper[-1].filters
    if MISSING not in (last, decoder.feat_in) and decoder.feat_in not in (-1, last):
        message = f"{decoder.feat_in}, but the last block has {last} filters"
        raise source.error(("model", "decoder", "feat_in"), message)


def _check_depth(model: ModelConfig, source: ConfigSource) -> None:
    """Refuses a network that would take hours to build, or that would leave no frames."""
    blocks = [] if model.encoder.jasper == MISSING else model.encoder.jasper
    convolutions, subsampling, dense_inputs = 0, 1, 0
    for i, block in enumerate(blocks):
        at = ("model", "encoder", "jasper", str(i))
        if MISSING not in (block.stride, block.dilation) and block.stride[0] != 1 and block.dilation[0] != 1:
            raise source.error((*at, "dilation"), "stride and dilation cannot both be above 1")
    for i, block in enumerate(blocks):
        at = ("model", "encoder", "jasper", str(i))
        flags = (block.separable, block.residual, block.residual_dense, block.stride_last)
        if MISSING in (block.repeat, block.stride, *block.stride, *flags):
            return
        dense_inputs = dense_inputs + 1 if block.residual_dense else 1
        convolutions += block.repeat * (1 + block.separable) + block.residual * dense_inputs
        if convolutions > _MOST_CONVOLUTIONS:
            raise source.error((*at, "repeat"), f"more than {_MOST_CONVOLUTIONS} convolutions so far; use fewer blocks")
        subsampling *= block.stride[0] ** (1 if block.stride_last else block.repeat)
        if subsampling > _MOST_SUBSAMPLING:
            raise source.error(
                (*at, "stride"),
                f"one frame of {subsampling:,} is left after this block; use at most {_MOST_SUBSAMPLING:,}",
            )


def _check_interctc(model: ModelConfig, source: ConfigSource) -> None:
    if model.interctc in (None, MISSING):
        return
    weights, layers = model.interctc.loss_weights, model.interctc.apply_at_layers
    if MISSING in (weights, layers, *weights, *layers):
        return
    at: Keys = ("model", "interctc", "loss_weights")
    if len(weights) != len(layers):
        raise source.error(at, f"{len(weights)} of them, but apply_at_layers names {len(layers)} blocks; give one each")
    if sum(weights) >= 1:
        raise source.error(at, f"their sum is {sum(weights):g}; the rest to 1 is the last block's, so stay below 1")
    if model.encoder.jasper == MISSING:
        return
    *before, last = (block.filters for block in model.encoder.jasper)
    for i, layer in enumerate(layers):
        at = ("model", "interctc", "apply_at_layers", str(i))
        if layer >= len(before):
            raise source.error(
                at, f"block {layer} is not before the last; there are {len(before) + 1} blocks, counted from 0"
            )
        if layer in layers[:i]:
            raise source.error(at, f"block {layer} is there already")
        if MISSING not in (before[layer], last) and before[layer] != last:
            widths = f"block {layer} has {before[layer]} filters, the last {last}"
            reason = f"{widths}; the decoder reads both: make them equal"
            raise source.error(at, reason)
