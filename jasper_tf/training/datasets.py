"""Builds batches from a dataset section of a configuration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from jasper_tf.config import Config
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.data.batches.bad_audio import BadAudio
from jasper_tf.data.batches.mixture import Mixture
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.data.manifest.columns import Manifest, Utterance, read_manifest
from jasper_tf.data.manifest.filter import Selected, Selection, select
from jasper_tf.data.manifest.sections import data_key, data_sets
from jasper_tf.data.storage.tar_index import TarIndex, expand_tar_paths
from jasper_tf.decoding.build_tokenizer import build_tokenizer
from jasper_tf.errors import UserError
from jasper_tf.model.frames import audio_framing, encoder_frames


def build_batches(
    cfg: Config, section: str, *, parts: int = 1, only: Sequence[Utterance] | None = None
) -> tuple[SpeechBatches, Selection]:
    """Builds the batches of `model.<section>`; returns them with the selection of utterances.

    Training sections use every setting and leave out utterances that CTC cannot align, by the declared duration at the
    highest speed, before silence is trimmed. Validation and test sections do not shuffle or augment, and keep such
    utterances: they count in the error rate.

    Speed perturbation does not slow an utterance beyond `max_duration`.

    Several training sets (`input_cfg`) are sampled by weight; several validation sets (a mapping) become `sets` of the
    returned batches.

    Args:
        cfg: the configuration.
        section: "train_ds", "validation_ds" or "test_ds".
        parts: devices times micro-batches per step; a batch has `parts * batch_size` utterances.
        only: utterances to use instead of the manifest's, in this order.

    Raises:
        UserError: the section is missing, or its manifest is wrong.
    """
    dataset, model = getattr(cfg.model, section), cfg.model
    if dataset is None:
        raise UserError(f"{cfg.source}: model.{section} is missing; give it a manifest_filepath")
    cfg.require(data_key(cfg, section))
    training = section == "train_ds"
    tokenizer = build_tokenizer(cfg)
    augmentor = (
        AudioAugmentor(dataset.augmentor, cfg.seed, model.sample_rate) if training and dataset.augmentor else None
    )
    sets = data_sets(dataset)
    tars = None
    if dataset.is_tarred and only is None:
        tars = TarIndex(expand_tar_paths(dataset.tarred_audio_filepaths or []))
    manifest = read_manifest([path for paths in sets.values() for path in paths], tars) if only is None else only
    selection = select(
        manifest,
        tokenizer,
        min_duration_s=dataset.min_duration,
        max_duration_s=dataset.max_duration,
        unknown_characters=dataset.unknown_characters,
        output_frames=encoder_frames(cfg, section) if training else None,
    )
    settings = {
        "sample_rate": model.sample_rate,
        "batch_size": dataset.batch_size * parts,
        "batch_duration_s": dataset.batch_duration,
        "parts": parts,
        "max_duration_s": dataset.max_duration,
        "shuffle": training and dataset.shuffle and only is None,
        "buckets": dataset.buckets,
        "hop": audio_framing(cfg).hop_samples,
        "pad_to": model.preprocessor.pad_to,
        "augmentor": augmentor,
        "channel_selector": dataset.channel_selector,
        "trim_silence": dataset.trim_silence,
        "seed": cfg.seed,
        "bpe_dropout": dataset.bpe_dropout if training and only is None else 0.0,
    }

    def batches_of(utterances: Selected, mixture: Mixture | None = None) -> SpeechBatches:
        skips = dataset.on_bad_audio == "skip"
        bad_audio = BadAudio(utterances, dataset.max_bad_audio, f"model.{section}") if skips else None
        return SpeechBatches(utterances, tokenizer, mixture=mixture, bad_audio=bad_audio, **settings)

    if not isinstance(manifest, Manifest) or (len(sets) == 1 and (training or "" in sets)):
        return batches_of(selection.utterances), selection
    members = _members(manifest, sets, selection.utterances)
    if training:
        assert dataset.input_cfg is not None
        sizes = [len(index) for index in members.values()]
        weights = [size if c.weight is None else c.weight for c, size in zip(dataset.input_cfg, sizes, strict=True)]
        temperature = 1.0 if dataset.reweight_temperature is None else dataset.reweight_temperature
        return batches_of(selection.utterances, Mixture(sizes, weights, temperature, cfg.seed)), selection
    batches = batches_of(selection.utterances)
    for name, index in members.items():
        if not len(index):
            raise UserError(f"{cfg.source}: model.{section}.manifest_filepath.{name}: no utterance of it is left")
        batches.sets[name] = batches_of(selection.utterances.part(index))
    return batches, selection


def _members(manifest: Manifest, sets: dict[str, list[str]], chosen: Selected) -> dict[str, np.ndarray]:
    """Maps the name of each set to the positions of its utterances in `chosen`."""
    ends = manifest.first[np.cumsum([len(paths) for paths in sets.values()])]
    of_set = np.searchsorted(ends, chosen.positions, "right")
    return {name: np.flatnonzero(of_set == k) for k, name in enumerate(sets)}


def longest_batch(batches: SpeechBatches) -> list[Utterance]:
    """Returns a batch of the longest utterances, which needs the most memory (`trainer.fast_dev_run`)."""
    order = np.argsort(-batches.audio_len, kind="stable")[: int(batches.sizes[-1])]
    return [batches.utterances[i] for i in order]


def first_batches(batches: SpeechBatches, count: int | float) -> list[Utterance]:
    """Returns the utterances of the first batches of epoch 0 (`trainer.overfit_batches`).

    Args:
        batches: training batches.
        count: number of batches, or, below 1, a fraction of the epoch.
    """
    plan = batches.plan(0)
    steps = max(1, round(count * len(plan))) if count < 1 else int(count)
    return [batches.utterances[i] for batch in plan[:steps] for i in batch.index]


def build_dataset(cfg: Config, section: str = "train_ds") -> tf.data.Dataset:
    """Builds a tf.data.Dataset of `model.<section>` for `model.fit`; each pass over it is the next epoch.

    Elements are `({"audio" [B,S], "audio_len" [B]}, {"labels" [B,U], "label_len" [B]})`.

    Raises:
        UserError: the section is missing, or its manifest is wrong.
    """
    batches, selection = build_batches(cfg, section)
    print(f"{section}: {selection.summary()}")
    return batches.dataset()
