"""The sections `train_ds`, `validation_ds` and `test_ds` of `model`, in NeMo's layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jasper_tf.config.section import OFF, NonNegative, Range, SampleRate, Seconds, Section, ZeroToOne
from jasper_tf.config.sections.augment_schema import AugmentorConfig

DATASETS = ("train_ds", "validation_ds", "test_ds")


@dataclass(kw_only=True)
class TrainingSetConfig(Section):
    """One entry of `train_ds.input_cfg`.

    Attributes:
        manifest_filepath: one manifest or several.
        weight: the share of an epoch that is drawn from this set; null in all entries weights them by size.
    """

    manifest_filepath: str | list[str]
    weight: NonNegative | None = None

    IGNORED = frozenset({"type", "tags"})


@dataclass(kw_only=True)
class DatasetConfig(Section):
    """One of `train_ds`, `validation_ds`, `test_ds`. Durations are in seconds.

    Attributes:
        manifest_filepath: one manifest or several; a folder of shards; in `validation_ds` also a mapping from names to
            manifests.
        input_cfg: in `train_ds`, in place of `manifest_filepath`: several sets, from which an epoch draws by weight.
        reweight_temperature: exponent on the weights of `input_cfg`; 1 keeps them, 0 makes all sets equal.
        is_tarred: the recordings are in NeMo's tar files, `tarred_audio_filepaths`.
        tarred_audio_filepaths: tar files; `audio__OP_0..127_CL_.tar` names 128.
        batch_duration: seconds of a batch, padding included, in place of `batch_size`: each padded length has its own
            size.
        on_bad_audio: `skip` names recordings that cannot be read and goes on without them. Not in NeMo.
        max_bad_audio: fraction of the utterances that `skip` may leave out. Not in NeMo.
        sample_rate: Hz; the default is `model.sample_rate`, and no other value fits.
        labels: a copy of `model.labels`, as NeMo's files have it.
        batch_size: utterances of a batch on each device.
        shuffle: another order in each epoch, a function of `seed` and the epoch.
        min_duration: shorter utterances are left out, and counted.
        max_duration: longer utterances are left out, and counted; holds after speed perturbation too.
        trim_silence: cuts off silence at both ends.
        buckets: number of padded lengths, chosen for the least padding. Not in NeMo.
        unknown_characters: what is done with a text that has characters outside of the labels. Not in NeMo.
        channel_selector: mean of the channels, or the number of one, from 0.
        bpe_dropout: probability of each merge of word pieces that is left out in training, so that a text is written
            in another way in each epoch (arXiv 1910.13267); 0 is off. Not in NeMo.
        augmentor: perturbations of the audio, in training only.
    """

    manifest_filepath: str | list[str] | dict[str, Any] | None = None
    input_cfg: list[TrainingSetConfig] | None = None
    reweight_temperature: Annotated[float, Range(0, 1000)] | None = None
    is_tarred: bool = False
    tarred_audio_filepaths: str | list[str] | None = None
    batch_duration: Seconds | None = None
    on_bad_audio: Literal["error", "skip"] = "error"
    max_bad_audio: ZeroToOne = 0.01
    sample_rate: SampleRate = 16000
    labels: list[str] | None = None
    batch_size: Annotated[int, Range(1, 65_536)] = 16
    shuffle: bool = False
    min_duration: NonNegative | None = None
    max_duration: Seconds | None = None
    trim_silence: bool = False
    buckets: Annotated[int, Range(1, 1000)] = 4
    unknown_characters: Literal["error", "drop_utterance", "remove_character"] = "error"
    channel_selector: Literal["average"] | Annotated[int, Range(0, 1023)] = "average"
    bpe_dropout: ZeroToOne = 0.0
    augmentor: AugmentorConfig | None = None

    NULL_MEANS = {"is_tarred": False, "on_bad_audio": "error"}
    IGNORED = frozenset(
        "num_workers pin_memory prefetch_factor persistent_workers defer_setup load_audio pad_id"
        " tarred_shard_strategy shard_manifests shuffle_n bucketing_strategy".split()
    )
    ONLY = {
        "bucketing_batch_size": (None,),
        "bucketing_weights": (None,),
        "use_start_end_token": OFF,
        "use_lhotse": OFF,
        "use_dali": OFF,
        "is_concat": OFF,
        "drop_last": OFF,
        "int_values": OFF,
        "cache_audio": OFF,
        "return_sample_id": OFF,
        "normalize_transcripts": OFF,
        "normalize": OFF,
        "parser": (None,),
        "max_utts": (None, 0),
        "bos_id": (None,),
        "eos_id": (None,),
        "blank_index": (None, -1),
        "unk_index": (None, -1),
        "load_audio": (True,),
    }
