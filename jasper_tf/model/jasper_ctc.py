"""The speech recognizer: raw audio to CTC logits, as one functional Keras model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.config import Config
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.build_tokenizer import build_tokenizer
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.deferred import DeferredDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.decoding.outputs import text_outputs
from jasper_tf.errors import UserError
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.normalize import FeatureNormalization
from jasper_tf.features.spec_augment import SpecAugment
from jasper_tf.features.spec_cutout import SpecCutout
from jasper_tf.features.splice import FrameSplicing
from jasper_tf.model.acoustic_stages import AcousticStages
from jasper_tf.model.ctc_model import CTCModel
from jasper_tf.model.decoder import ConvASRDecoder
from jasper_tf.model.encoder import ConvASREncoder
from jasper_tf.model.frames import count_encoder_frames
from jasper_tf.model.memory_estimate import estimate_memory, require_memory
from jasper_tf.model.streaming.streaming_model import StreamingModel
from jasper_tf.model.transcribing_model import TranscribingModel
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer, tokenizer_from_config

# Keys of NeMo's preprocessor section: those with the same name in LogMelSpectrogram, and the others.
_LOG_MEL_KEYS = (
    "window n_fft features preemph dither mag_power mel_norm log log_zero_guard_type log_zero_guard_value exact_pad "
    "generation"
).split()
_OTHER_PREPROCESSOR_KEYS = (
    "window_size window_stride lowfreq highfreq normalize pad_to pad_value frame_splicing".split()
)
_BATCH = (tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.int32))
"""audio [B,S], audio_len [B]"""


@keras.saving.register_keras_serializable(package="jasper_tf")
class JasperCTC(TranscribingModel, CTCModel):
    """A Jasper, QuartzNet or Citrinet acoustic model with its features inside the graph.

    `{"audio": [B,S] float32, "audio_len": [B] int32} -> {"logits": [B,T',V+1] float32, "logit_len": [B] int32}`

    The same layer objects serve training, evaluation, notebooks and the SavedModel. Dither, SpecCutout, SpecAugment and
    dropout act in training only.

    Args:
        labels: the V output characters; the blank comes after them (class V). None with `tokenizer`.
        preprocessor: NeMo's `model.preprocessor` keys (see `config.PreprocessorConfig`).
        encoder: arguments of `ConvASREncoder`.
        spec_augment: NeMo's `model.spec_augment` keys, or None for no masking.
        interctc: NeMo's `model.interctc` keys, or None: the head also reads these blocks, and training adds their CTC
            losses to the last block's (intermediate CTC, Lee and Watanabe 2021, arXiv 2102.03216).
        decoder_init_mode: initialization of the 1x1 head.
        decoding: NeMo's `model.decoding` keys (see `DecodingConfig`); None for greedy. The language model of a beam
            search is read when it is first used.
        sample_rate: of the audio, in hertz.
        seed: of initial weights, dither, masks and dropout.
        tokenizer: of word pieces, in the place of `labels`, or its config.

    `compile`, and what a step does: see `CTCModel`.
    """

    decoding: Decoder

    def __init__(
        self,
        labels: Sequence[str] | None,
        preprocessor: Mapping[str, Any],
        encoder: Mapping[str, Any],
        spec_augment: Mapping[str, Any] | None = None,
        interctc: Mapping[str, Any] | None = None,
        decoder_init_mode: str | None = "xavier_uniform",
        decoding: Mapping[str, Any] | None = None,
        sample_rate: int = 16000,
        seed: int = 0,
        tokenizer: Tokenizer | Mapping[str, Any] | None = None,
        name: str = "jasper_ctc",
        **kwargs,
    ):
        if tokenizer is None:
            tokenizer = CharacterTokenizer(labels or [])
        elif not isinstance(tokenizer, Tokenizer):
            tokenizer = tokenizer_from_config(dict(tokenizer))
        p = dict(preprocessor)
        log_mel = LogMelSpectrogram(
            sample_rate=sample_rate,
            window_size_s=p["window_size"],
            window_stride_s=p["window_stride"],
            lowfreq_hz=p["lowfreq"],
            highfreq_hz=p["highfreq"],
            seed=seed,
            name="log_mel",
            **{key: p[key] for key in _LOG_MEL_KEYS},
        )
        normalize = {"normalize": None if p["normalize"] == "none" else p["normalize"]}
        if isinstance(p["normalize"], Mapping):
            normalize = {"normalize": "fixed", **p["normalize"]}
        normalization = FeatureNormalization(
            **normalize, pad_to=p["pad_to"], pad_value=p["pad_value"], name="normalization"
        )
        acoustic = ConvASREncoder(**encoder, seed=seed + 1, name="encoder")
        head = ConvASRDecoder(num_classes=len(tokenizer), init_mode=decoder_init_mode, seed=seed + 2, name="decoder")

        audio = keras.Input((None,), dtype="float32", name="audio")  # [B,S]
        audio_len = keras.Input((), dtype="int32", name="audio_len")  # [B]
        features, feature_len = log_mel(audio, audio_len)  # [B,T,F], [B]
        if p["frame_splicing"] > 1:
            features, feature_len = FrameSplicing(p["frame_splicing"], name="splicing")(features, feature_len)
        features, feature_len = normalization(features, feature_len)
        s = dict(spec_augment or {})
        if s.get("rect_masks"):
            cutout = SpecCutout(s["rect_masks"], s["rect_time"], s["rect_freq"], seed=seed + 3, name="spec_cutout")
            features = cutout(features, feature_len)
        if s.get("freq_masks") or s.get("time_masks"):
            masks = {key: s[key] for key in ("freq_masks", "time_masks", "freq_width", "time_width", "mask_value")}
            features = SpecAugment(**masks, seed=seed + 4, name="spec_augment")(features, feature_len)
        encoder_inputs = [features, feature_len]
        encoded, encoded_len = acoustic(encoder_inputs)  # [B,T',C], [B]
        super().__init__(
            inputs={"audio": audio, "audio_len": audio_len},
            outputs={"logits": head(encoded), "logit_len": encoded_len},
            name=name,
            **kwargs,
        )
        self.labels = list(tokenizer.pieces)
        self.sample_rate = sample_rate
        self.framing = log_mel.framing
        self.hop = self.framing.hop_samples
        self.encoder = acoustic
        self._encoder_inputs = encoder_inputs
        self.decoder = head
        self.tokenizer = tokenizer
        own = self.decoding_config = DecodingConfig(**decoding or {})
        self.decoding = build_decoder(own) if own.is_greedy else DeferredDecoder(own, tokenizer)
        i = interctc or {"loss_weights": (), "apply_at_layers": ()}
        shares = dict(zip(i["apply_at_layers"], i["loss_weights"], strict=True))
        self.loss_weights = {f"inter_ctc_loss_l{block}": share for block, share in shares.items()}
        self._interctc_blocks = tuple(shares)
        is_characters = isinstance(tokenizer, CharacterTokenizer)
        self._config = {
            "labels": self.labels if is_characters else None,
            "preprocessor": p,
            "encoder": dict(encoder),
            "spec_augment": dict(spec_augment) if spec_augment else None,
            "interctc": dict(interctc) if interctc else None,
            "decoder_init_mode": decoder_init_mode,
            "decoding": dict(decoding) if decoding else None,
            "sample_rate": sample_rate,
            "seed": seed,
        }
        if not is_characters:
            self._config["tokenizer"] = tokenizer.get_config()

    @property
    def frame_s(self) -> float:  # type: ignore[override]  # counted from the layers
        """Seconds from one output frame to the next."""
        return self.hop * self.encoder.subsampling_factor / self.sample_rate

    def output_frames(self, duration_s: float) -> int:
        """T' of a recording of `duration_s` seconds: the frames that CTC can align labels with."""
        return int(count_encoder_frames(round(duration_s * self.sample_rate), self.framing, self.encoder.blocks))

    # ------------------------------------------------------------------ use

    @functools.cached_property
    def compute_logits(self) -> Callable:
        """Traced function: (audio [B,S], audio_len [B]) -> (logits [B,T',V+1], logit_len [B])."""

        @tf.function(input_signature=_BATCH)
        def compute_logits(audio, audio_len):
            y = self({"audio": audio, "audio_len": audio_len}, training=False)
            return y["logits"], y["logit_len"]

        return compute_logits

    @functools.cached_property
    def streaming(self) -> StreamingModel:
        """Computes the same log-probabilities chunk by chunk.

        Raises:
            UserError: the model needs the whole recording; names the key of its configuration.
        """
        return StreamingModel(self)

    @functools.cached_property
    def compute_stream(self) -> Callable:
        """Traced `streaming.step`: (audio [B,S], state [B,N], audio_len [B]) -> (log_probs, frames [B], state)."""
        width = self.streaming.state_size
        inputs = [
            tf.TensorSpec([None, None], tf.float32),
            tf.TensorSpec([None, width], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ]
        return tf.function(self.streaming.step, input_signature=inputs, autograph=False)

    @functools.cached_property
    def stages(self) -> AcousticStages:
        """The model in two steps, for streams: their features are computed once, and normalized anew with each step."""
        return AcousticStages(self)

    def recognize(self, audio: Any, audio_len: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(audio [B,S], audio_len [B]) -> (text [B] tf.string, logits [B,T',V+1], logit_len [B])."""
        logits, logit_len = self.compute_logits(audio, audio_len)
        best = self.decoding(logits, logit_len).best()
        return self.tokenizer.decode_in_graph(best.labels), logits, logit_len

    @functools.cached_property
    def spectrograms(self) -> keras.Model:
        """Model {"audio", "audio_len"} -> (features [B,T,F], the encoder's input [B,T,F], feature_len [B]).

        The two differ in training mode only, by the masks of SpecAugment and SpecCutout. Dither acts on both.
        """
        features, feature_len = self.get_layer("normalization").output
        return keras.Model(self.input, (features, self._encoder_inputs[0], feature_len))

    @functools.cached_property
    def with_intermediate(self) -> keras.Model:
        """Model of all outputs, a list of {"logits", "logit_len"}: those of the blocks of `interctc`, then the last."""
        outputs = self.encoder.with_blocks(self._interctc_blocks)(self._encoder_inputs)
        return keras.Model(self.input, [{"logits": self.decoder(x), "logit_len": length} for x, length in outputs])

    def training_outputs(self, x: dict) -> list[dict]:
        return self.with_intermediate(x, training=True) if self.loss_weights else super().training_outputs(x)

    def recognize_batch(
        self,
        audio: np.ndarray,
        audio_len: np.ndarray,
        words: bool = True,
        decoder: HypothesisDecoder | None = None,
        hot_words: GivenHotWords | None = None,
    ) -> dict[str, np.ndarray]:
        """See `TranscribingModel`."""
        if decoder in (None, self.decoding) and isinstance(self.decoding, GreedyDecoder) and hot_words is None:
            found = self._recognize_greedily(words)(
                tf.convert_to_tensor(audio, tf.float32), tf.convert_to_tensor(audio_len, tf.int32)
            )
            return {name: value.numpy() for name, value in found.items()}
        return super().recognize_batch(audio, audio_len, words, decoder, hot_words)

    @functools.cached_property
    def _recognize_greedily(self) -> Callable[[bool], Callable]:
        """`recognize_batch` in one graph, by `words`: three graphs, one after another, take 2 ms a batch longer.

        Each call of a `tf.function`, in place of its one concrete function, would take some of Python's time.
        """
        decoder = self.decoding

        @functools.cache
        def trace(words: bool) -> Callable:
            def recognize(audio, audio_len):
                hypotheses = decoder(*self.compute_logits(audio, audio_len))
                return text_outputs(hypotheses, self.tokenizer, self.frame_s, decoder.word_aggregation, words)

            return tf.function(recognize, _BATCH, autograph=False).get_concrete_function()

        return trace

    def frame_scores(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """See `TranscribingModel`: logits."""
        return self.compute_logits(audio, audio_len)

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Audio [B,S] float32, audio_len [B] int32 -> log-probabilities [B,T',V+1] float32, valid frames [B] int32."""
        logits, logit_len = self.compute_logits(audio, audio_len)
        return tf.nn.log_softmax(logits).numpy(), logit_len.numpy()

    # ------------------------------------------------------------------ serialization

    def get_config(self) -> dict:
        return {**self._config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> JasperCTC:
        return cls(**config)


def build_model(cfg: Config, synchronized: bool = False) -> JasperCTC:
    """Builds the model of a configuration, with weights initialized from `cfg.seed`.

    Args:
        cfg: from `load_config`.
        synchronized: batch-norm statistics over all replicas of a distribution strategy.

    Raises:
        UserError: its layers do not fit together, it does not fit this machine's memory, or its tokenizer cannot be
            read.
    """
    require_memory(cfg)
    tokenizer = build_tokenizer(cfg)
    model = dataclasses.asdict(cfg.model)
    try:
        return JasperCTC(
            labels=None,
            tokenizer=tokenizer,
            preprocessor={key: model["preprocessor"][key] for key in (*_LOG_MEL_KEYS, *_OTHER_PREPROCESSOR_KEYS)},
            encoder=model["encoder"] | {"synchronized": synchronized},
            spec_augment=model["spec_augment"],
            interctc=model["interctc"],
            decoder_init_mode=cfg.model.decoder.init_mode,
            decoding=model["decoding"],
            sample_rate=cfg.model.sample_rate,
            seed=cfg.seed,
        )
    except tf.errors.ResourceExhaustedError:  # others use the memory too, or a GPU has less of it
        gib = sum(estimate_memory(cfg).values()) / 2**30
        raise UserError(
            f"{cfg.source}: no room for the {gib:.1f} GiB that the model needs; reduce its filters"
        ) from None
