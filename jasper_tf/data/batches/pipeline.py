"""Reads utterances as padded batches: a tf.data pipeline whose order is planned before any audio is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from jasper_tf.audio.graph_errors import keeps_errors
from jasper_tf.audio.load import ChannelSelector
from jasper_tf.data.augment import AudioAugmentor, sped_length
from jasper_tf.data.batches.bad_audio import BadAudio
from jasper_tf.data.batches.batch_reader import BatchReader
from jasper_tf.data.batches.mixture import Mixture
from jasper_tf.data.batches.plan import Batch, Buckets, batch_sizes, count_batches, plan_epoch
from jasper_tf.data.manifest.columns import columns
from jasper_tf.data.manifest.filter import Selected
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import DataError
from jasper_tf.text.tokenizer import Tokenizer

_THREADS = min(max(os.cpu_count() or 1, 2), 8)
"""Batches that are read at the same time. Decoders run side by side, the Python between their calls does not."""

_DROPOUT_STREAM = 0xB9E
"""Keeps the draws of BPE-dropout apart from those of the sound."""

_COUNTED_EPOCHS = 1000
"""Epochs whose steps are counted: one takes milliseconds, as it draws the speed of every utterance."""


class _Epoch(NamedTuple):
    """Lengths and speed rates, as `SpeechBatches.lengths` gives them, and the plan."""

    lengths: np.ndarray
    rates: np.ndarray
    plan: list[Batch]


class SpeechBatches:
    """Utterances as batches `({"audio", "audio_len"}, {"labels", "label_len"})`.

    audio [B,S] float32, audio_len [B] int32, labels [B,U] int32 (0 after the end), label_len [B] int32. Every epoch
    holds every utterance once. The order and every augmentation are pure functions of (seed, epoch, utterance): what a
    step sees depends on neither the steps before it nor a restart.

    Batches are planned on the durations that the manifest declares. Audio that comes out longer than the bucket of its
    declared duration is cut (rounding: a sample or two); what is trimmed off becomes padding.

    Args:
        utterances: what to read; already selected, at least one. Text and path of a line are read when its turn comes.
        tokenizer: encodes the transcripts.
        sample_rate: of the batches, in Hz; files at other rates are resampled.
        batch_size: utterances in a batch (all micro-batches and devices together).
        batch_duration_s: seconds in a batch, padding counted, for each of the `parts` that share a step; each bucket
            then has a batch size of its own, and the number of steps may change with the epoch's speeds. Default:
            `batch_size` counts.
        max_duration_s: no utterance is slowed down beyond it; see `lengths`. Default: no bound.
        shuffle: whether the order changes from epoch to epoch; without it, utterances come by length.
        buckets: number of padded lengths.
        hop, pad_to: samples per feature frame, and the multiple that the features pad frames to.
        augmentor: perturbations of the audio, or None.
        channel_selector: "average", or the channel to read.
        trim_silence: whether silence at both ends is cut off, before everything else: see `audio.silence`.
        seed: of order and augmentation.
        mixture: how often each of several sets is drawn. Default: every utterance once in every epoch.
        bad_audio: leaves out recordings that cannot be read. Default: they are an error.
        bpe_dropout: see `Tokenizer.encode_randomly`; a text of more than twice its labels stays as it is.

    `epoch` is the epoch that the next iterator of `dataset()` reads, `first_step` where in it to begin; starting an
    iterator moves on to the next epoch. A dataset made with a `first_step` above 0 is for that one epoch: tf.data knows
    one number of steps for each dataset. `sets` are the parts that are scored apart, under their names.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: Tokenizer,
        *,
        sample_rate: int = 16000,
        batch_size: int,
        batch_duration_s: float | None = None,
        parts: int = 1,
        max_duration_s: float | None = None,
        shuffle: bool,
        buckets: int = 4,
        hop: int = 160,
        pad_to: int = 16,
        augmentor: AudioAugmentor | None = None,
        channel_selector: ChannelSelector = "average",
        trim_silence: bool = False,
        seed: int = 0,
        mixture: Mixture | None = None,
        bad_audio: BadAudio | None = None,
        bpe_dropout: float = 0.0,
    ):
        self.utterances = utterances
        self.shuffle = shuffle
        self.augmentor = augmentor
        self.trim_silence = trim_silence
        self.seed = seed
        self.epoch = 0
        self.first_step = 0
        self.mixture = mixture
        self.bad_audio = bad_audio
        self.sets: dict[str, SpeechBatches] = {}
        if isinstance(utterances, Selected):
            duration_s, label_len = utterances.duration_s, utterances.label_len
        else:
            duration_s, label_len, _ = columns(utterances)
        if bpe_dropout:
            tokenizer.encode_randomly("", bpe_dropout, seed)  # an error shows at once
            label_len = 2 * label_len
        self.audio_len = np.maximum(1, np.rint(duration_s * sample_rate)).astype(np.int64)
        speeds = augmentor.speeds if augmentor else (1.0, 1.0)
        self._max_samples = None if max_duration_s is None else round(max_duration_s * sample_rate)
        self.buckets = Buckets.fit(
            self.audio_len, label_len, buckets, hop=hop, pad_to=pad_to, speeds=speeds, max_samples=self._max_samples
        )
        self.sizes = np.full(len(self.buckets.samples), batch_size)
        if batch_duration_s is not None:
            self.sizes = batch_sizes(self.buckets, batch_duration_s, sample_rate) * parts
        self._steps_vary = batch_duration_s is not None and (speeds != (1.0, 1.0) or mixture is not None)
        self._tokenizer = tokenizer
        self._bpe_dropout = bpe_dropout
        self._reader = BatchReader(sample_rate, channel_selector, trim_silence)
        self._plans: dict[int, _Epoch] = {}
        self._planning = threading.Lock()

    @property
    def batch_size(self) -> int:
        """Utterances in a batch, at most."""
        return int(self.sizes.max())

    @property
    def steps_per_epoch(self) -> int:
        """Of the first epoch; see `steps`."""
        return self.steps(0)

    def steps(self, epoch: int) -> int:
        """Batches of `epoch`. They vary only with `batch_duration_s` and speed perturbation or a mixture."""
        if not self._steps_vary and len(set(self.sizes)) == 1:
            return -(-len(self.utterances) // int(self.sizes[0]))
        return count_batches(self.lengths(epoch)[0][self._members(epoch)], self.buckets, self.sizes)

    def total_steps(self, epochs: int) -> int:
        """Batches of the first `epochs` epochs; where they vary, epochs after the first 1,000 count as their mean."""
        if not self._steps_vary:
            return epochs * self.steps_per_epoch
        counted = sum(self.steps(e) for e in range(min(epochs, _COUNTED_EPOCHS)))
        return counted * epochs // min(epochs, _COUNTED_EPOCHS) if epochs else 0

    def epochs(self, total_steps: int) -> int:
        """Epochs for a number of steps, the last one possibly in part; counted as by `total_steps`."""
        if not self._steps_vary:
            return -(-total_steps // self.steps_per_epoch)
        counted = 0
        for epoch in range(_COUNTED_EPOCHS):
            if counted >= total_steps:
                return epoch
            counted += self.steps(epoch)
        return -(-total_steps * _COUNTED_EPOCHS // counted)

    def _members(self, epoch: int) -> np.ndarray | slice:
        return slice(None) if self.mixture is None else self.mixture.members(epoch)

    def lengths(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples of each utterance in `epoch` after speed perturbation [utterances], and the speed rates [utterances].

        A rate that would make an utterance longer than `max_duration_s` is raised to the lowest that does not.
        """
        if self.augmentor is None:
            return self.audio_len, np.ones(len(self.audio_len))
        rates = self.augmentor.speed_rates(epoch, len(self.audio_len))
        if self._max_samples is None:
            return sped_length(self.audio_len, rates), rates
        longest = np.maximum(self.audio_len, self._max_samples)
        rates = np.maximum(rates, self.audio_len / longest)
        return np.minimum(sped_length(self.audio_len, rates), longest), rates

    def plan(self, epoch: int) -> list[Batch]:
        """The batches of `epoch`, without reading audio."""
        return self._epoch(epoch).plan

    def _epoch(self, epoch: int) -> _Epoch:
        with self._planning:  # callbacks ask for it, and in other threads the reader
            found = self._plans.get(epoch)
            if found is None:
                lengths, rates = self.lengths(epoch)
                members = self._members(epoch)
                chosen, seed = lengths[members], self.seed
                plan = plan_epoch(chosen, self.buckets, self.sizes, shuffle=self.shuffle, seed=seed, epoch=epoch)
                if not isinstance(members, slice):
                    plan = [replace(batch, index=members[batch.index]) for batch in plan]
                found = _Epoch(lengths, rates, plan)
                self._plans = dict([*self._plans.items()][-1:]) | {epoch: found}
            return found

    def largest_batch(self, parts: int = 1) -> tuple[int, int]:
        """Utterances and samples of the batch of epoch 0 that takes the most memory, as one of `parts` gets it."""
        batch = max(self.plan(0), key=lambda batch: batch.samples * len(batch.index))
        return -(-len(batch.index) // parts), batch.samples

    def padding_ratio(self, epoch: int = 0) -> float:
        """Padding samples divided by all samples of the epoch's batches."""
        lengths, _, plan = self._epoch(epoch)
        padded = sum(batch.samples * len(batch.index) for batch in plan)
        return 1 - sum(float(lengths[batch.index].sum()) for batch in plan) / padded

    def read(self, index: int, epoch: int | None = None) -> np.ndarray:
        """audio [S] float32 of one utterance as batches hold it: not augmented, or as `epoch` augments it.

        Raises:
            UserError: the file cannot be read.
        """
        audio = self._reader.read(self.utterances[index])
        if epoch is None:
            return audio
        return self._augment(audio, self._epoch(epoch).rates[index], epoch, index)

    def dataset(self) -> tf.data.Dataset:
        """The tf.data pipeline: each new iterator is the next epoch."""

        def parts(_: np.ndarray) -> np.ndarray:
            epoch, first_step = self.epoch, self.first_step
            self.epoch, self.first_step = epoch + 1, 0
            return self._parts(epoch, first_step, range(1), 1)

        batches = self._batches(tf.data.Dataset.range(1), parts)
        if not self._steps_vary:  # its number of steps stays unknown
            steps = self.steps(self.epoch) - self.first_step
            batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
        return batches.prefetch(4)

    def distributed(
        self, strategy: tf.distribute.Strategy, epoch: int = 0, first_step: int = 0, *, endless: bool = False
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """The batches for the devices of `strategy`, on this machine and others.

        Of the B rows of a batch replica r of R takes those from B r // R to B (r + 1) // R: every utterance once, none
        twice, and a replica may get none of a small batch. Each process reads what its own replicas take.

        Args:
            strategy: any that keeps its replicas in step; with one replica the rows are those of `dataset()`.
            epoch, first_step: where to begin.
            endless: continue with the next epoch after the last step, forever.
        """

        def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync
            share = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * share

            def parts(e: np.ndarray) -> np.ndarray:
                return self._parts(int(e), first_step if e == epoch else 0, range(first, first + share), replicas)

            epochs = tf.data.Dataset.counter(epoch) if endless else tf.data.Dataset.from_tensors(np.int64(epoch))
            batches = self._batches(epochs, parts)
            if endless:  # or every process would be asked at every step whether it has more
                batches = batches.apply(
                    tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
                )
            return batches.prefetch(4 * share)

        return strategy.distribute_datasets_from_function(of_process)

    def _parts(self, epoch: int, first_step: int, mine: range, replicas: int) -> np.ndarray:
        """From `first_step` on, for each batch of `epoch`, what each of the replicas `mine` gets: [steps, 4]."""
        steps = range(first_step, len(self.plan(epoch)))
        parts = np.array([(epoch, step, replica, replicas) for step in steps for replica in mine], np.int64)
        return parts.reshape(-1, 4)

    def _batches(self, epochs: tf.data.Dataset, parts: Callable[[np.ndarray], np.ndarray]) -> tf.data.Dataset:
        """The rows of `parts(epoch)` as batches, in their order."""

        # An epoch at a time: a call of Python for each step would hold up the threads that read. Not by
        # `from_generator`: it calls Python once more when its iterator is deleted, too late when the process ends.
        def rows(epoch: tf.Tensor) -> tf.data.Dataset:
            found = tf.numpy_function(keeps_errors(parts), [epoch], tf.int64)
            return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(found, [None, 4]))

        def batch(part: tf.Tensor) -> tuple[dict, dict]:
            types = tf.float32, tf.int32, tf.int32, tf.int32
            audio, audio_len, labels, label_len = tf.numpy_function(self._batch, [part], types)
            audio.set_shape([None, None])
            audio_len.set_shape([None])
            labels.set_shape([None, None])
            label_len.set_shape([None])
            return {"audio": audio, "audio_len": audio_len}, {"labels": labels, "label_len": label_len}

        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        # Its own threads: what waits for a disk must not hold those that run the model.
        options.threading.private_threadpool_size = _THREADS + 1
        return epochs.flat_map(rows).map(batch, num_parallel_calls=_THREADS, deterministic=True).with_options(options)

    @keeps_errors
    def _batch(self, part: np.ndarray) -> tuple[np.ndarray, ...]:
        """A row of `_parts` -> audio [B,S], audio_len [B], labels [B,U], label_len [B]."""
        epoch, step, replica, replicas = (int(n) for n in part)
        lengths, rates, plan = self._epoch(epoch)
        batch = plan[step]
        size = len(batch.index)
        index = batch.index[size * replica // replicas : size * (replica + 1) // replicas]
        utterances = [self.utterances[int(i)] for i in index]
        labels = np.zeros((len(index), batch.labels), np.int32)
        label_len = np.zeros(len(index), np.int32)
        for row, utterance in enumerate(utterances):
            ids = self._encode(utterance.text, epoch, int(index[row]))
            if len(ids) > batch.labels:
                raise DataError(f"{utterance.source}: its text was changed while it was read; start again")
            labels[row, : len(ids)], label_len[row] = ids, len(ids)

        def change(row: int, audio: np.ndarray) -> np.ndarray:
            return self._augment(audio, rates[index[row]], epoch, int(index[row]))

        # Their own buckets, not the batch's: what is cut must not depend on the neighbors.
        limits = self.buckets.samples[self.buckets.of(lengths[index])]
        audio, audio_len, errors = self._reader.read_batch(utterances, limits, batch.samples, change)
        if not errors:
            return audio, audio_len, labels, label_len
        for row in sorted(errors):
            if self.bad_audio is None:
                raise errors[row]
            self.bad_audio.add(int(index[row]), str(errors[row]))
        kept = [row for row in range(len(index)) if row not in errors]
        if not kept and self.bad_audio is not None:
            self.bad_audio.require_rest(int(i) for planned in plan for i in planned.index)
        return audio[kept], audio_len[kept], labels[kept], label_len[kept]

    def _encode(self, text: str, epoch: int, index: int) -> np.ndarray:
        """Labels [U] int32 of one utterance, as `epoch` writes it."""
        ids = self._tokenizer.encode(text)
        if not self._bpe_dropout:
            return ids
        seed = int(np.random.default_rng((self.seed, epoch, index, _DROPOUT_STREAM)).integers(2**31))
        other = self._tokenizer.encode_randomly(text, self._bpe_dropout, seed)
        return other if len(other) <= 2 * len(ids) else ids

    def _augment(self, audio: np.ndarray, rate: float, epoch: int, index: int) -> np.ndarray:
        """audio [S] float32 of one utterance, augmented."""
        return audio if self.augmentor is None else self.augmentor(audio, rate, epoch, index)
