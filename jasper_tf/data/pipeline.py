"""From utterances to padded batches: a tf.data pipeline whose order is computed, then read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from jasper_tf.data.audio import ChannelSelector, is_graph_decodable, load_audio_in_graph, user_error_in
from jasper_tf.data.augment import AudioAugmentor, sped_length
from jasper_tf.data.batch_plan import Batch, Buckets, plan_epoch
from jasper_tf.data.manifest import Utterance
from jasper_tf.data.trim_silence import trim_silence as trimmed
from jasper_tf.text.vocabulary import Vocabulary


class SpeechBatches:
    """Utterances as batches `({"audio", "audio_len"}, {"labels", "label_len"})`.

    audio [B,S] float32, audio_len [B] int32, labels [B,U] int32 (0 behind the end), label_len [B] int32. Every epoch
    holds every utterance once. The order and every augmentation are pure functions of (seed, epoch, utterance): what a
    step sees depends on neither the steps before it nor a restart.

    Batches are planned on the durations that the manifest declares. Audio that comes out longer than the bucket of its
    declared duration is cut (rounding: a sample or two); what is trimmed off becomes padding.

    Args:
        utterances: what to read; already selected, at least one.
        vocabulary: encodes the transcripts.
        sample_rate: of the batches, in Hz; files at other rates are resampled.
        batch_size: utterances in a batch (all micro-batches and devices together).
        shuffle: whether the order changes from epoch to epoch; without it, utterances come by length.
        buckets: number of padded lengths.
        hop, pad_to: samples per feature frame, and the multiple that the features pad frames to.
        augmentor: perturbations of the sound, or None.
        channel_selector: "average", or the channel to read.
        trim_silence: whether silence at both ends is cut off, before everything else: see `trim_silence.py`.
        seed: of order and augmentation.

    `epoch` is the epoch that the next iterator of `dataset()` reads, `first_step` where in it to begin; starting an
    iterator moves on to the next epoch. A dataset made with a `first_step` above 0 is for that one epoch: tf.data knows
    one number of steps for each dataset.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        vocabulary: Vocabulary,
        *,
        sample_rate: int = 16000,
        batch_size: int,
        shuffle: bool,
        buckets: int = 4,
        hop: int = 160,
        pad_to: int = 16,
        augmentor: AudioAugmentor | None = None,
        channel_selector: ChannelSelector = "average",
        trim_silence: bool = False,
        seed: int = 0,
    ):
        self.utterances = list(utterances)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augmentor = augmentor
        self.trim_silence = trim_silence
        self.seed = seed
        self.epoch = 0
        self.first_step = 0
        self.audio_len = np.array([max(1, round(u.duration_s * sample_rate)) for u in self.utterances], np.int64)
        labels = [vocabulary.encode(u.text) for u in self.utterances]
        label_len = np.array([len(ids) for ids in labels], np.int64)
        speeds = augmentor.speeds if augmentor else (1.0, 1.0)
        self.buckets = Buckets.fit(self.audio_len, label_len, buckets, hop=hop, pad_to=pad_to, speeds=speeds)
        self._paths = tf.constant([u.path for u in self.utterances])
        self._offsets = tf.constant([u.offset_s for u in self.utterances], tf.float64)
        self._durations = tf.constant([u.duration_s for u in self.utterances], tf.float64)
        decodable = {path: is_graph_decodable(path, sample_rate) for path in {u.path for u in self.utterances}}
        self._in_graph = tf.constant([decodable[u.path] for u in self.utterances])
        self._labels = tf.RaggedTensor.from_row_lengths(np.concatenate(labels).astype(np.int32), label_len)
        self._load = lambda i: load_audio_in_graph(
            self._paths[i], self._offsets[i], self._durations[i], self._in_graph[i], sample_rate, channel_selector
        )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.utterances) // self.batch_size)

    def lengths(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Of `epoch`: samples of each utterance after speed perturbation [N], and the speed rates [N]."""
        if self.augmentor is None:
            return self.audio_len, np.ones(len(self.audio_len))
        rates = self.augmentor.speed_rates(epoch, len(self.audio_len))
        return sped_length(self.audio_len, rates), rates

    def plan(self, epoch: int) -> list[Batch]:
        """The batches of `epoch`, without reading audio."""
        lengths, _ = self.lengths(epoch)
        return plan_epoch(lengths, self.buckets, self.batch_size, shuffle=self.shuffle, seed=self.seed, epoch=epoch)

    def padding_share(self, epoch: int = 0) -> float:
        """The share of the batches' samples that is padding."""
        lengths, _ = self.lengths(epoch)
        padded = sum(batch.samples * len(batch.index) for batch in self.plan(epoch))
        return 1 - float(lengths.sum()) / padded

    def read(self, index: int, epoch: int | None = None) -> np.ndarray:
        """audio [S] float32 of one utterance as batches hold it: not augmented, or as `epoch` augments it.

        Raises:
            UserError: the file cannot be read.
        """
        try:
            audio = self._load(index).numpy()
        except tf.errors.OpError as error:
            raise user_error_in(error) or error from None
        if epoch is None:
            return trimmed(audio) if self.trim_silence else audio
        _, rates = self.lengths(epoch)
        return self._change_sound(audio, rates[index], epoch, index)

    def dataset(self) -> tf.data.Dataset:
        """The tf.data pipeline: each new iterator is the next epoch."""

        def rows() -> Iterator[tuple]:
            epoch, first_step = self.epoch, self.first_step
            self.epoch, self.first_step = epoch + 1, 0
            return self._rows(epoch, first_step, range(1), 1)

        cardinality = tf.data.experimental.assert_cardinality(self.steps_per_epoch - self.first_step)
        return self._batches(rows).apply(cardinality).prefetch(4)

    def distributed(
        self, strategy: tf.distribute.Strategy, epoch: int = 0, first_step: int = 0, *, endless: bool = False
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """The batches for the devices of `strategy`, on this machine and others.

        Of the B rows of a batch replica r of R takes those from B r // R to B (r + 1) // R: every utterance once, none
        twice, and a replica may get none of a small batch. Each process reads what its own replicas take.

        Args:
            strategy: any that keeps its replicas in step; with one replica the rows are those of `dataset()`.
            epoch, first_step: where to begin.
            endless: go on with the next epoch behind the last step, for ever.
        """

        def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync
            share = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * share

            def rows() -> Iterator[tuple]:
                epochs = itertools.count(epoch) if endless else [epoch]
                for e in epochs:
                    yield from self._rows(e, first_step if e == epoch else 0, range(first, first + share), replicas)

            batches = self._batches(rows)
            if endless:  # so that nobody asks every process at every step whether it has more
                batches = batches.apply(
                    tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
                )
            return batches.prefetch(4 * share)

        return strategy.distribute_datasets_from_function(of_process)

    def _batches(self, rows) -> tf.data.Dataset:
        """Rows of the plan as batches, in their order."""
        dataset = tf.data.Dataset.from_generator(
            rows,
            output_signature=(
                tf.TensorSpec([None], tf.int64),  # utterances
                tf.TensorSpec([None], tf.float64),  # their speed rates
                tf.TensorSpec([None], tf.int64),  # samples at most
                tf.TensorSpec([2], tf.int64),  # S, U
                tf.TensorSpec([], tf.int64),  # epoch
            ),
        )
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        batches = dataset.interleave(
            self._batch, cycle_length=4, block_length=1, num_parallel_calls=4, deterministic=True
        )
        return batches.with_options(options)

    def _rows(self, epoch: int, first_step: int, mine: range, replicas: int) -> Iterator[tuple]:
        """From `first_step` on, for each batch of `epoch`, a row for each of the replicas `mine`."""
        lengths, rates = self.lengths(epoch)
        # Their own buckets, not the batch's: what is cut must not depend on the neighbours.
        limits = self.buckets.samples[self.buckets.of(lengths)]
        for batch in self.plan(epoch)[first_step:]:
            for replica in mine:
                size = len(batch.index)
                index = batch.index[size * replica // replicas : size * (replica + 1) // replicas]
                yield index, rates[index], limits[index], (batch.samples, batch.labels), epoch

    def _batch(self, index, rates, limits, shape, epoch) -> tf.data.Dataset:
        """One row of the plan as a dataset of one batch."""

        def read(i, rate, limit):
            audio = self._load(i)
            if self.trim_silence or self.augmentor is not None:
                audio = tf.numpy_function(self._change_sound, [audio, rate, epoch, i], tf.float32)
            audio = audio[:limit]
            audio.set_shape([None])
            labels = self._labels[i]
            return audio, tf.size(audio), labels, tf.size(labels)

        def named(audio, audio_len, labels, label_len):
            return {"audio": audio, "audio_len": audio_len}, {"labels": labels, "label_len": label_len}

        size = tf.size(index, tf.int64)
        examples = tf.data.Dataset.from_tensor_slices((index, rates, limits)).map(read)
        padded = examples.padded_batch(tf.maximum(size, 1), padded_shapes=(shape[:1], [], shape[1:], []))
        # Of no examples tf.data makes no batch, but the replica waits for one.
        empty = (
            tf.zeros((0, shape[0]), tf.float32), tf.zeros((0,), tf.int32),
            tf.zeros((0, shape[1]), tf.int32), tf.zeros((0,), tf.int32),
        )  # fmt: skip
        nothing = tf.data.Dataset.from_tensors(empty).take(tf.cast(size == 0, tf.int64))
        return padded.concatenate(nothing).map(named)

    def _change_sound(self, audio: np.ndarray, rate: float, epoch: int, index: int) -> np.ndarray:
        """audio [S] float32 of one utterance, trimmed and augmented."""
        if self.trim_silence:
            audio = trimmed(audio)
        return audio if self.augmentor is None else self.augmentor(audio, rate, epoch, index)
