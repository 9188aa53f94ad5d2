"""From a configuration's dataset section to batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from jasper_tf.config import Config
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.data.manifest import Utterance, read_manifest
from jasper_tf.data.pipeline import SpeechBatches
from jasper_tf.data.selection import Selection, select
from jasper_tf.errors import UserError
from jasper_tf.model.encoder import build_blocks, output_length
from jasper_tf.text.vocabulary import Vocabulary


def build_batches(
    cfg: Config, section: str, *, parts: int = 1, only: Sequence[Utterance] | None = None
) -> tuple[SpeechBatches, Selection]:
    """The batches of `model.<section>`, and what was kept and left out.

    Training sections use every setting; what CTC cannot align is left out, judged by the declared duration at the
    highest speed, before silence is trimmed. Validation and test sections neither shuffle nor augment, and keep such
    utterances: they count in the error rate.

    Args:
        cfg: the configuration.
        section: "train_ds", "validation_ds" or "test_ds".
        parts: devices times micro-batches that share a step; the batches are `batch_size` times as large.
        only: these utterances in place of the manifest's, unshuffled.

    Raises:
        UserError: the section is missing, or its manifest is wrong.
    """
    dataset, model = getattr(cfg.model, section), cfg.model
    if dataset is None:
        raise UserError(f"{cfg.source}: model.{section} is missing; give it a manifest_filepath")
    cfg.require(f"model.{section}.manifest_filepath")
    training = section == "train_ds"
    vocabulary = Vocabulary(model.labels)
    hop = round(model.preprocessor.window_stride * model.sample_rate)
    augmentor = AudioAugmentor(dataset.augmentor, cfg.seed) if training and dataset.augmentor else None
    fastest = augmentor.speeds[1] if augmentor else 1.0
    blocks = build_blocks([dataclasses.asdict(b) for b in model.encoder.jasper], conv_mask=model.encoder.conv_mask)
    # NeMo: legacy features count one frame more, exact_pad leaves one out.
    extra_frames = (model.preprocessor.generation == "legacy") - model.preprocessor.exact_pad

    def output_frames(duration_s: np.ndarray) -> np.ndarray:
        frames = (duration_s / fastest * model.sample_rate).astype(np.int64) // hop + extra_frames
        return output_length(blocks, np.maximum(frames, 0))

    selection = select(
        read_manifest(dataset.manifest_filepath) if only is None else only,
        vocabulary,
        min_duration_s=dataset.min_duration,
        max_duration_s=dataset.max_duration,
        unknown_characters=dataset.unknown_characters,
        output_frames=output_frames if training else None,
    )
    batches = SpeechBatches(
        selection.utterances,
        vocabulary,
        sample_rate=model.sample_rate,
        batch_size=dataset.batch_size * parts,
        shuffle=training and dataset.shuffle and only is None,
        buckets=dataset.buckets,
        hop=hop,
        pad_to=model.preprocessor.pad_to,
        augmentor=augmentor,
        channel_selector=dataset.channel_selector,
        trim_silence=dataset.trim_silence,
        seed=cfg.seed,
    )
    return batches, selection


def longest_batch(batches: SpeechBatches) -> list[Utterance]:
    """As many of the longest utterances as a batch holds: what takes the most memory (`trainer.fast_dev_run`)."""
    order = np.argsort(-batches.audio_len, kind="stable")[: batches.batch_size]
    return [batches.utterances[i] for i in order]


def first_batches(batches: SpeechBatches, count: int | float) -> list[Utterance]:
    """The utterances of the first batches of epoch 0; a `count` below 1 is a share (`trainer.overfit_batches`)."""
    plan = batches.plan(0)
    steps = max(1, round(count * len(plan))) if count < 1 else int(count)
    return [batches.utterances[i] for batch in plan[:steps] for i in batch.index]


def build_dataset(cfg: Config, section: str = "train_ds") -> tf.data.Dataset:
    """`model.<section>` as a tf.data.Dataset for `model.fit`; each pass over it is the next epoch.

    Elements are `({"audio" [B,S], "audio_len" [B]}, {"labels" [B,U], "label_len" [B]})`.

    Raises:
        UserError: the section is missing, or its manifest is wrong.
    """
    batches, selection = build_batches(cfg, section)
    print(f"{section}: {selection.summary()}")
    return batches.dataset()
