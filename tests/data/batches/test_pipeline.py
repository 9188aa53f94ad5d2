import dataclasses
import math
import re

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.audio.in_graph import is_graph_decodable, load_audio_in_graph
from jasper_tf.audio.load import load_audio
from jasper_tf.audio.silence import trim_silence
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.data.batches.bad_audio import BadAudio
from jasper_tf.data.batches.mixture import Mixture
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(list("abcdefghijklmnopqrstuvwxyz "))
AUGMENTATIONS = {"speed": {"prob": 0.8}, "gain": {"prob": 0.8}, "white_noise": {"prob": 0.8, "min_level": -50}}


def noise(seconds, rate, channels=1, seed=0):
    samples = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels)).clip(-0.9, 0.9)
    fade = np.ones(len(samples))
    fade[: len(samples) // 3] = 1e-5  # silence to trim off
    return samples * fade[:, None]


@pytest.fixture(scope="module")
def utterances(tmp_path_factory) -> list[Utterance]:
    """Whole files of several formats and rates, then segments of a long file; every text is another one."""
    folder = tmp_path_factory.mktemp("sounds")
    found = []

    def add(path, offset_s, duration_s):
        number = len(found)
        text = "abcdefghijklmnopqrstuvwxyz"[number % 26] * (1 + number % 7) + " x" * (number // 26)
        found.append(Utterance(str(path), offset_s, duration_s, text, f"here:{number + 1}"))

    kinds = [("wav", 16000, 1), ("flac", 16000, 1), ("wav", 8000, 1), ("wav", 44100, 2), ("flac", 22050, 1)]
    for number in range(15):
        kind, rate, channels = kinds[number % len(kinds)]
        path = folder / f"{number}.{kind}"
        seconds = 0.2 + 0.13 * number
        soundfile.write(path, noise(seconds, rate, channels, seed=number), rate)
        add(path, 0.0, soundfile.info(path).duration)
    for kind, rate in (("wav", 16000), ("flac", 44100)):
        path = folder / f"long.{kind}"
        soundfile.write(path, noise(12, rate, seed=100), rate)
        for number in range(5):
            add(path, 5.0 + 1.003 * number, 0.3 + 0.2 * number)
    return found


def batches_of(utterances, **changes):
    arguments = {"batch_size": 4, "shuffle": True, "buckets": 3, "seed": 7} | changes
    return SpeechBatches(utterances, TOKENIZER, **arguments)


def rows_of(batches):
    """One epoch: text -> audio bytes, and the (audio, labels) shapes in order."""
    rows, shapes, order = {}, [], []
    for x, y, *_ in batches.dataset():
        shapes.append((x["audio"].shape, y["labels"].shape))
        for audio, audio_len, labels, label_len in zip(
            x["audio"].numpy(), x["audio_len"].numpy(), y["labels"].numpy(), y["label_len"].numpy(), strict=True
        ):
            assert not audio[audio_len:].any() and not labels[label_len:].any()
            text = TOKENIZER.decode(labels[:label_len])
            rows[text] = audio[:audio_len]
            order.append(text)
    return rows, shapes, order


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffle": False},
        {"batch_size": 1, "buckets": 1},
        {"batch_size": 7, "buckets": 9},
        {"batch_size": 100},
        {"augmentor": AudioAugmentor(AUGMENTATIONS)},
        {"trim_silence": True},
    ],
)
def test_epochs_follow_the_plan(utterances, changes):
    batches = batches_of(utterances, **changes)
    orders = []
    for epoch in range(2):
        plan = batches.plan(epoch)
        assert batches.epoch == epoch
        _, shapes, order = rows_of(batches)
        assert order == [utterances[i].text for batch in plan for i in batch.index]
        assert sorted(order) == sorted(u.text for u in utterances)
        assert shapes == [((len(b.index), b.samples), (len(b.index), b.labels)) for b in plan]
        assert len(shapes) == batches.steps_per_epoch == math.ceil(len(utterances) / batches.batch_size)
        assert len({(audio[1], labels[1]) for audio, labels in shapes}) <= len(batches.buckets.samples)
        assert [batches.utterances[i].text for i in batches.plan(epoch)[0].index] == order[: shapes[0][0][0]]
        orders.append(order)
    assert (orders[0] != orders[1]) == batches.shuffle


@pytest.mark.parametrize("channel_selector", ["average", 0])
def test_audio_is_what_load_audio_gives(utterances, channel_selector):
    batches = batches_of(utterances, channel_selector=channel_selector)
    rows, _, _ = rows_of(batches)
    for u in utterances:
        expected = load_audio(u.path, 16000, u.offset_s, u.duration_s, channel_selector)
        np.testing.assert_array_equal(rows[u.text], expected, err_msg=u.path)


def test_segments_are_cut_out_of_their_file(utterances):
    rows, _, _ = rows_of(batches_of(utterances))
    segments = [u for u in utterances if u.path.endswith("long.wav")]
    whole, _ = soundfile.read(segments[0].path, dtype="float32")
    for u in segments:
        start = round(u.offset_s * 16000)
        np.testing.assert_array_equal(rows[u.text], whole[start : start + round(u.duration_s * 16000)])


def test_another_sample_rate(utterances):
    rows, _, _ = rows_of(batches_of(utterances, sample_rate=8000, hop=80))
    for u in utterances:
        np.testing.assert_array_equal(rows[u.text], load_audio(u.path, 8000, u.offset_s, u.duration_s))


def test_augmentation_and_trimming_depend_on_seed_epoch_and_utterance_not_on_batching(utterances):
    augmentor = AudioAugmentor(AUGMENTATIONS, seed=5)
    reference, _, _ = rows_of(batches_of(utterances, augmentor=augmentor, trim_silence=True))
    for changes in ({"batch_size": 3, "buckets": 1, "seed": 8}, {"batch_size": 2, "buckets": 8, "shuffle": False}):
        rows, _, _ = rows_of(batches_of(utterances, augmentor=augmentor, trim_silence=True, **changes))
        for text in reference:
            np.testing.assert_array_equal(rows[text], reference[text])
    rates = augmentor.speed_rates(0, len(utterances))
    for i, u in enumerate(utterances):
        audio = trim_silence(load_audio(u.path, 16000, u.offset_s, u.duration_s))
        np.testing.assert_array_equal(reference[u.text], augmentor(audio, rates[i], 0, i))
    batches = batches_of(utterances, augmentor=augmentor, trim_silence=True)
    batches.epoch = 1
    later, _, _ = rows_of(batches)
    assert sum(len(later[t]) != len(reference[t]) or (later[t] != reference[t]).any() for t in reference) > 15


def test_augmentation_without_trimming(utterances):
    augmentor = AudioAugmentor({"gain": {"prob": 1.0}})
    rows, _, _ = rows_of(batches_of(utterances[:8], augmentor=augmentor))
    for i, u in enumerate(utterances[:8]):
        audio = load_audio(u.path, 16000, u.offset_s, u.duration_s)
        np.testing.assert_array_equal(rows[u.text], augmentor(audio, 1.0, 0, i))


def test_trimming_only_when_asked_for(utterances):
    trimmed, shapes, _ = rows_of(batches_of(utterances, trim_silence=True))
    plain, plain_shapes, _ = rows_of(batches_of(utterances))
    assert shapes == plain_shapes
    for text in plain:
        np.testing.assert_array_equal(trimmed[text], trim_silence(plain[text]))
    assert sum(len(trimmed[text]) < len(plain[text]) for text in plain) > 10


@pytest.mark.parametrize("first_step", [0, 1, 4, 6])
def test_first_step_goes_on_where_an_epoch_stopped(utterances, first_step):
    def run(first_step):
        batches = batches_of(utterances, augmentor=AudioAugmentor(AUGMENTATIONS))
        batches.epoch, batches.first_step = 3, first_step
        dataset = batches.dataset()
        assert dataset.cardinality().numpy() == batches.steps_per_epoch - first_step
        steps = [tf.nest.map_structure(lambda t: t.numpy().tobytes(), step) for step in dataset]
        assert (batches.epoch, batches.first_step) == (4, 0)
        return steps

    assert run(first_step) == run(0)[first_step:]


class Replicas(tf.distribute.InputContext):
    """What a strategy tells each process, without a strategy."""

    def distribute_datasets_from_function(self, dataset_fn):
        return dataset_fn(self)


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 2), (2, 6), (3, 3)])
def test_replicas_share_every_batch(utterances, workers, replicas):
    """25 utterances by 8: the last batch has 1, and some replicas none of it."""
    batches = batches_of(utterances, batch_size=8, buckets=1)
    assert len(utterances) == 25
    per_process = [list(batches.distributed(Replicas(workers, worker, replicas), epoch=1)) for worker in range(workers)]
    share = replicas // workers
    plan = batches.plan(1)
    assert [len(parts) for parts in per_process] == [share * len(plan)] * workers
    for step, batch in enumerate(plan):
        parts = [p for parts in per_process for p in parts[step * share : (step + 1) * share]]
        assert {p[0]["audio"].shape[1] for p in parts} == {batch.samples}
        assert {p[1]["labels"].shape[1] for p in parts} == {batch.labels}
        sizes = [len(p[0]["audio_len"]) for p in parts]
        assert sum(sizes) == len(batch.index) and max(sizes) - min(sizes) <= 1
        texts = [
            TOKENIZER.decode(labels[:n])
            for _, y in parts
            for labels, n in zip(y["labels"].numpy(), y["label_len"].numpy(), strict=True)
        ]
        assert texts == [utterances[i].text for i in batch.index]


def test_endless_begins_anywhere_and_goes_on_with_the_next_epoch(utterances):
    batches = batches_of(utterances)
    steps = batches.steps_per_epoch
    stream = iter(batches.distributed(tf.distribute.get_strategy(), 3, steps - 1, endless=True))
    expected = [batches.plan(3)[-1], *batches.plan(4), batches.plan(5)[0]]
    for batch in expected:
        _, y = next(stream)
        texts = [TOKENIZER.decode(row[:n]) for row, n in zip(y["labels"].numpy(), y["label_len"].numpy(), strict=True)]
        assert texts == [utterances[i].text for i in batch.index]


def test_what_decodes_longer_than_declared_is_cut_at_its_own_bucket(tmp_path):
    """Rounded at 8 kHz, a duration may become a sample more at 16 kHz; a cut must not depend on the neighbors."""
    path = tmp_path / "low.wav"
    soundfile.write(path, noise(1, 8000), 8000)
    found = [Utterance(str(path), 0.0, (2000 + 100 * n + 0.6) / 8000, "abcdef"[n], f"here:{n}") for n in range(6)]
    # Batches that put an utterance into its own bucket, and one that moves all up to the longest.
    one = batches_of(found, batch_size=1, buckets=6, hop=1, pad_to=0)
    assert one.buckets.samples.tolist() == one.audio_len.tolist()
    decoded = [len(load_audio(u.path, 16000, 0.0, u.duration_s)) for u in found]
    assert decoded == (one.audio_len + 1).tolist()
    alone, _, _ = rows_of(one)
    together, _, _ = rows_of(batches_of(found, batch_size=6, buckets=6, hop=1, pad_to=0))
    for u, samples in zip(found, one.audio_len, strict=True):
        assert len(alone[u.text]) == samples
        np.testing.assert_array_equal(alone[u.text], together[u.text])


def test_padding_ratio(utterances):
    batches = batches_of(utterances, shuffle=False, buckets=1)
    padded = sum(batch.samples * len(batch.index) for batch in batches.plan(0))
    spoken = sum(len(row) for row in rows_of(batches)[0].values())
    assert batches.padding_ratio() == pytest.approx(1 - spoken / padded, abs=1e-4)
    assert batches_of(utterances, buckets=8).padding_ratio() < batches.padding_ratio()


def test_one_utterance_without_text(utterances):
    silent = dataclasses.replace(utterances[0], text="")
    [(x, y)] = batches_of([silent]).dataset()
    assert x["audio"].shape[0] == 1 and y["label_len"].numpy().tolist() == [0] and y["labels"].shape == (1, 1)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_file_that_vanished_is_one_user_error(tmp_path, kind):
    paths = [tmp_path / f"{number}.{kind}" for number in range(6)]
    for path in paths:
        soundfile.write(path, noise(0.5, 16000), 16000)
    batches = batches_of([Utterance(str(p), 0.0, 0.5, "abc", "here:1") for p in paths], batch_size=2)
    paths[3].unlink()
    with pytest.raises(tf.errors.OpError) as raised:
        list(batches.dataset())
    error = user_error_in(raised.value)
    assert isinstance(error, UserError), str(raised.value)
    assert str(error).startswith(f"{paths[3]}: ") and "\n" not in str(error)


@pytest.mark.parametrize("in_graph", [True, False])
def test_load_audio_in_graph_eagerly(utterances, in_graph):
    for u in utterances:
        decodable = in_graph and is_graph_decodable(u.path, 16000)
        audio = load_audio_in_graph(
            tf.constant(u.path),
            tf.constant(u.offset_s, tf.float64),
            tf.constant(u.duration_s, tf.float64),
            tf.constant(decodable),
            16000,
        )
        np.testing.assert_array_equal(audio, load_audio(u.path, 16000, u.offset_s, u.duration_s))
    assert len(load_audio_in_graph(utterances[0].path, 0.0, 0.0, False, 16000)) == 3200


def skipping(utterances, share, **changes):
    bad_audio = BadAudio(utterances, share, "model.train_ds")
    return batches_of(utterances, bad_audio=bad_audio, **changes), bad_audio


@pytest.mark.parametrize("batch_size", [1, 4])
def test_recordings_that_cannot_be_read_are_left_out_and_named(utterances, tmp_path, batch_size):
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"junk")
    gone = dataclasses.replace(utterances[3], path=str(tmp_path / "gone.wav"))
    broken = dataclasses.replace(utterances[8], path=str(bad))
    changed = [gone if i == 3 else broken if i == 8 else u for i, u in enumerate(utterances)]
    batches, bad_audio = skipping(changed, 0.1, batch_size=batch_size, augmentor=AudioAugmentor(AUGMENTATIONS))
    whole, _, order = rows_of(batches_of(utterances, batch_size=batch_size, augmentor=AudioAugmentor(AUGMENTATIONS)))
    rows, shapes, kept = rows_of(batches)
    # As many steps; what is left out leaves its batch smaller, an empty one if it was alone.
    assert len(shapes) == batches.steps_per_epoch
    assert kept == [text for text in order if text not in (gone.text, broken.text)]
    assert sum(audio[0] for audio, _ in shapes) == len(utterances) - 2
    for text in kept:
        np.testing.assert_array_equal(rows[text], whole[text])
    assert sorted(bad_audio.reasons) == [3, 8]
    lines = bad_audio.news()
    assert any(line == f"model.train_ds: left out here:4: {gone.path}: no such file" for line in lines)
    assert lines[-1] == "model.train_ds: 2 of 25 recordings left out, unreadable"
    rows_of(batches)
    assert bad_audio.news() == []


def test_too_many_unreadable_recordings_stop(utterances, tmp_path):
    changed = [
        dataclasses.replace(u, path=str(tmp_path / "gone.wav")) if i < 3 else u for i, u in enumerate(utterances)
    ]
    batches, _ = skipping(changed, 0.1)
    with pytest.raises(tf.errors.OpError) as raised:
        rows_of(batches)
    assert re.fullmatch(
        r"model\.train_ds: 3 of 25 recordings cannot be read, more than max_bad_audio 0\.1 allows; the last: "
        r"here:\d: .*gone\.wav: no such file",
        str(user_error_in(raised.value)),
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_an_epoch_of_nothing_is_an_error(utterances, tmp_path, mixed):
    """Of a mixture the set that is not drawn can still be read."""
    bad = [dataclasses.replace(u, path=str(tmp_path / "gone.wav")) for u in utterances[: 15 if mixed else None]]
    mixture = Mixture([15, 10], [1, 0], seed=2) if mixed else None
    batches, _ = skipping([*bad, *utterances[len(bad) :]], 1.0, mixture=mixture)
    with pytest.raises(tf.errors.OpError) as raised:
        rows_of(batches)
    assert re.fullmatch(
        r"model\.train_ds: not one .*; the first: here:1: .*gone\.wav: no such file", str(user_error_in(raised.value))
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_batches_by_seconds_follow_the_plan(utterances, mixed):
    mixture = Mixture([15, 10], [1, 3], seed=2) if mixed else None
    batches = batches_of(
        utterances, batch_duration_s=3.0, mixture=mixture, augmentor=AudioAugmentor({"speed": {"prob": 1.0}})
    )
    total = 0
    for epoch in range(3):
        plan = batches.plan(epoch)
        found = list(batches.distributed(tf.distribute.get_strategy(), epoch))
        texts = [
            TOKENIZER.decode(row[:n])
            for _, y in found
            for row, n in zip(y["labels"].numpy(), y["label_len"].numpy(), strict=True)
        ]
        assert texts == [utterances[i].text for batch in plan for i in batch.index] and len(texts) == 25
        assert len(found) == len(plan) == batches.steps(epoch)
        assert all(len(b.index) == 1 or b.samples * len(b.index) <= 3 * 16000 for b in plan)
        total += len(plan)
        assert batches.total_steps(epoch + 1) == total
        assert batches.epochs(total) == epoch + 1 and batches.epochs(total + 1) == epoch + 2
        drawn = np.concatenate([batch.index for batch in plan])
        assert (drawn >= 15).sum() == (19 if mixed else 10)
        assert mixed or len(set(drawn)) == 25


def test_speed_does_not_make_an_utterance_longer_than_max_duration(utterances):
    def of(**changes):
        return batches_of(
            utterances, augmentor=AudioAugmentor({"speed": {"prob": 1.0, "min_speed_rate": 0.5}}), **changes
        )

    free, bound = of(), of(max_duration_s=1.4)
    lengths, rates = bound.lengths(0)
    free_lengths, free_rates = free.lengths(0)
    limit = round(1.4 * 16000)
    assert free_lengths.max() > 1.5 * limit and lengths.max() <= max(limit, bound.audio_len.max())
    short = free_lengths <= limit
    assert 0 < short.sum() < len(short)
    np.testing.assert_array_equal(rates[short], free_rates[short])
    np.testing.assert_array_equal(lengths, np.minimum(free_lengths, np.maximum(limit, bound.audio_len)))
    rows, _, _ = rows_of(bound)
    for i, u in enumerate(utterances):
        assert abs(len(rows[u.text]) - lengths[i]) <= 2
