"""Prefix beam search over packed frames, with models of the text."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from jasper_tf.decoding.beam.frames import LOG_ZERO, FramePacker, Frames
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.decoding.beam.text_models import TextModel
from jasper_tf.decoding.ops.gather import first_columns, gather, hash_type
from jasper_tf.decoding.ops.scan import scan

_SMALLEST = 1e-37
"""Probabilities are kept relative to the best entry's; float32 ends near here."""


_LARGEST_THRESHOLD = 80.0
"""Of the beam; exp(-80) is near the smallest number."""


class BeamState(NamedTuple):
    """The K prefixes of each utterance, the best first.

    paths: [B,K,2] float32, the probabilities of the paths that end in a blank and in the last label, times the factors
        of the text models, relative to the best's; 0 in entries without a prefix.
    hashes: [B,K,2], of the prefix and of the prefix without its last label; 0 in entries without a prefix. With
        `BeamSearch.spelling` they are of the text.
    columns: [B,K,1+n] int32, the last label and the columns of the text models.
    offset: [B,1,1] float32, the score of the best.
    gap: [B] bool, whether the last frame was packed away.
    """

    paths: Any
    hashes: Any
    columns: Any
    offset: Any
    gap: Any


class Trace(NamedTuple):
    """Where the K prefixes of each utterance came from, frame by frame.

    sources: [T', B K] int32, row b K + k of the prefix in the frame before.
    labels: [T', B K] int32, the label that was appended; V for none.
    """

    sources: Any
    labels: Any

    def follow(self, rows: Any) -> tuple[Any, Any]:
        """Follows entries back to the first frame.

        Args:
            rows: [R] int32, rows b K + k after the last frame.

        Returns:
            The row before the first frame [R], the label of each frame [R,T'].
        """
        rows = ops.cast(rows, "int32")
        frames, entries = ops.shape(self.sources)

        def step(row, t):
            return gather(gather(self.sources, t), row), row

        before, path = scan(step, rows, rows, frames, reverse=True)  # path [T',R]
        at = path + entries * ops.arange(frames, dtype="int32")[:, None]
        return before, ops.transpose(gather(ops.reshape(self.labels, (-1,)), at))


class BeamSearch:
    """Sums the probabilities of all paths of a prefix, and keeps the K prefixes with the highest scores.

    Graves 2012 and Hannun et al. 2014 (arXiv 1408.2873). The score of a prefix is ln p of its paths plus what the text
    models give. A prefix that is found by extending another is the same as the one that is kept already: their paths
    are summed, exactly.

    Args:
        packer: prepares the frames.
        beam_size: K.
        threshold: entries whose score is lower than the best's by more than this are dropped.
        models: see `TextModel`.
        spelling: of word pieces, if prefixes that spell the same text with the same last label are one, whose paths are
            summed as those of one prefix: that is exact, if the text models see only the text.
        recombine: whether only the best is kept of prefixes that end in a space, or in a piece that starts a word, and
            that the text models cannot tell apart from here on.
    """

    def __init__(
        self,
        packer: FramePacker,
        beam_size: int,
        threshold: float,
        models: Sequence[TextModel] = (),
        spelling: Spelling | None = None,
        recombine: bool = False,
    ):
        self.packer = packer
        self.beam_size = beam_size
        self._least = math.exp(-min(threshold, _LARGEST_THRESHOLD))
        self.models = tuple(models)
        has_words = packer.space is not None or packer.starts_word is not None
        self.recombine = recombine and bool(self.models) and has_words
        self._multiplier = 6364136223846793005 if hash_type() == "int64" else 1664525
        self._texts = spelling.hashes(self._multiplier) if spelling is not None else None

    def with_static_shapes(self) -> BeamSearch:
        """The same search for XLA."""
        search = copy.copy(self)
        search.packer = dataclasses.replace(self.packer, dynamic=False)
        return search

    def with_model(self, model: TextModel, rare: float) -> BeamSearch:
        """The same search with one more text model, for which more labels are tried: twice as many, rarer by `rare`."""
        search = copy.copy(self)
        search.packer = dataclasses.replace(self.packer, rare=rare, top_labels=2 * self.packer.top_labels)
        search.models = (*self.models, model)
        return search

    def start(self, batch: Any) -> BeamState:
        """The state before the first frame."""
        size, space = self.beam_size, self.packer.space
        best = np.arange(size)[:, None] == 0
        # Before the first letter the text is as behind a space.
        last = self.packer.labels + 1 if space is None else space
        columns = np.concatenate([[last], *(model.start for model in self.models)])

        def repeat(values, dtype):
            values = ops.convert_to_tensor(np.asarray(values)[None], dtype=dtype)
            return ops.tile(values, (batch, 1, 1))

        return BeamState(
            paths=repeat(best * ([1.0, 0.0] if space is None else [0.0, 1.0]), "float32"),
            hashes=repeat(best * [1, 0], hash_type()),
            columns=repeat(np.broadcast_to(columns, (size, len(columns))), "int32"),
            offset=ops.zeros((batch, 1, 1), "float32"),
            gap=ops.zeros((batch,), "bool"),
        )

    def advance(self, state: BeamState, log_probs: Any, logit_len: Any) -> tuple[BeamState, Trace]:
        """Walks through log_probs [B,T',V+1] of logit_len [B] frames, which may be the next part of a recording."""
        frames = self.packer.pack(log_probs, logit_len, state.gap)
        batch, size, most = ops.shape(log_probs)[0], self.beam_size, self.packer.choices + 1
        row = ops.arange(batch, dtype="int32")[:, None]  # [B,1]
        length = ops.shape(frames.tried)[0]
        step, output = self._step(frames), ops.zeros((batch, size), "int32")
        carry, found = scan(step, tuple(state[:-1]), output, length)
        row_of_frame = ops.arange(length, dtype="int32")[:, None, None] * batch + row
        choices = frames.tried[:, None, None] + 1
        at = found % choices + row_of_frame * most
        trace = Trace(
            sources=ops.reshape(found // choices + row * size, (length, batch * size)),
            labels=ops.reshape(gather(ops.reshape(frames.choices, (-1,)), at), (length, batch * size)),
        )
        paths, hashes, columns, offset = carry
        offset = offset + frames.skipped[:, None, None]
        return BeamState(paths, hashes, columns, offset, frames.gap), trace

    def _step(self, frames: Frames):
        """The function (state, t) -> (state, choices [B,K]) of one frame: entry (A+1) k + a is entry k and choice a."""
        size, blank, batch = self.beam_size, self.packer.labels, ops.shape(frames.probs)[0]
        row = ops.arange(batch, dtype="int32")[:, None]
        of_entries = row * size
        of_stay, of_choices = row[:, :, None] * (blank + 2), row[:, :, None] * (self.packer.choices + 1)
        label_part = ops.convert_to_tensor([0.0, 1.0], dtype="float32")
        no_hash = ops.zeros((1, 1, 1), hash_type())
        hash_of_label = ops.arange(1, blank + 2, dtype=hash_type())

        def step(carry, t):
            paths, hashes, columns, offset = carry
            own, parent = ops.split(hashes, 2, axis=2)
            last, *states = ops.split(columns, columns.shape[-1], axis=2)
            tried = gather(frames.tried, t) if self.packer.dynamic else self.packer.choices
            choices = tried + 1
            ids, repeats, probs, is_rare = (
                first_columns(values, t, tried)  # [B,1,A]
                for values in (frames.ids, frames.repeats, frames.probs, frames.is_rare)
            )
            has_space = gather(frames.has_space, t)

            # Extensions [B,K,A].
            on_blank, on_label = ops.split(paths, 2, axis=2)
            total = on_blank + on_label
            longer = ops.where(last == repeats, on_blank, total) * probs
            carried, chosen = [], []
            for model, own_columns in zip(self.models, self._by_model(states), strict=True):
                factors, needed, by_choice = model.score(own_columns, ids, has_space, is_rare)
                longer = longer * factors
                carried.append(needed)
                chosen.append(by_choice)

            # The paths of an extension that is an entry already go there.
            of_parents = ops.reshape(own, (-1, 1, size))
            if self._texts is None:
                is_parent = parent == of_parents  # [B,K,K]: child, parent
            else:
                longer = self._merged(longer, own, last, ids)
                is_parent = own == self._texts.extend(of_parents, ops.reshape(last, (-1, 1, size)), last)
            is_parent = ops.cast(is_parent, "float32")
            is_last = ops.cast(last == ids, "float32")
            joined = ops.sum(is_last * ops.matmul(is_parent, longer), axis=2, keepdims=True)
            longer = longer - longer * ops.matmul(ops.transpose(is_parent, (0, 2, 1)), is_last)
            stay = ops.reshape(gather(gather(frames.stay, t), last + of_stay), (-1, size, 2))
            stay = stay * ops.concatenate([total, on_label], axis=2) + joined * label_part
            same = ops.sum(stay, axis=2, keepdims=True)

            candidates = ops.reshape(ops.concatenate([same, longer], axis=2), (-1, size * choices))
            scores, found = ops.top_k(candidates, size)
            found = ops.cast(found, "int32")
            scores, candidate = ops.reshape(scores, (-1, size, 1)), ops.reshape(found, (-1, size, 1))
            source, choice = found // choices + of_entries, candidate % choices
            best = ops.maximum(scores[:, :1], _SMALLEST)
            alive = scores >= best * self._least
            stays = choice == 0
            label = gather(gather(frames.choices, t), choice + of_choices)

            paths = ops.where(stays, gather(ops.reshape(stay, (-1, 2)), source), scores * label_part)
            paths = ops.where(alive, paths / best, 0.0)
            hashes = gather(ops.reshape(hashes, (-1, 2)), source)
            before = hashes[:, :, :1]
            if self._texts is None:
                longer_hash = before * self._multiplier + gather(hash_of_label, label)
            else:
                longer_hash = self._texts.extend(before, gather(ops.reshape(last, (-1, 1)), source), label)
            hashes = ops.where(stays, hashes, ops.concatenate([longer_hash, before], axis=2))
            hashes = ops.where(alive, hashes, no_hash)

            packed = ops.concatenate([last, *sum(carried, [])], axis=2)
            packed = gather(ops.reshape(packed, (-1, packed.shape[-1])), source)
            last, *rest = ops.split(packed, packed.shape[-1], axis=2)
            new = [ops.where(stays, last, label)]
            for model, needed, by_choice in zip(self.models, carried, chosen, strict=True):
                mine, rest = rest[: len(needed)], rest[len(needed) :]
                if by_choice is not None:
                    by_choice = gather(ops.reshape(by_choice, (-1,)), candidate + row[:, :, None] * (size * choices))
                new += model.follow(mine, label, by_choice)
            columns = ops.concatenate(new, axis=2)
            if self.recombine:
                kept = (paths, hashes)
                paths, hashes = ops.cond(has_space, lambda: self._recombined(*kept, columns), lambda: kept)
            return (paths, hashes, columns, offset + ops.log(best)), found

        return step

    def _merged(self, longer: Any, own: Any, last: Any, ids: Any) -> Any:
        """Sums the extensions [B,K,A] that spell the same text in the first of their entries."""
        assert self._texts is not None
        same = own == ops.transpose(own, (0, 2, 1))
        behind = gather(self._texts.behind, last)
        # A label that starts a word gives the same text behind a space as without one, others do not.
        as_is = ops.logical_and(same, behind == ops.transpose(behind, (0, 2, 1)))

        def in_first(same):
            is_first = ops.logical_not(ops.any(ops.logical_and(same, self._before), axis=2, keepdims=True))
            return ops.matmul(ops.cast(ops.logical_and(same, is_first), "float32"), longer)

        return ops.where(self.packer.ends_word(ids), in_first(same), in_first(as_is))

    def _by_model(self, columns: list) -> list[list]:
        edges = np.cumsum([0, *(len(model.start) for model in self.models)])
        return [columns[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def _recombined(self, paths: Any, hashes: Any, columns: Any) -> tuple[Any, Any]:
        """Keeps only the best of the prefixes that have just ended a word and have the same future."""
        # Hashes of the columns: one comparison of pairs.
        powers = ops.convert_to_tensor([self._multiplier**n % 2**31 for n in range(columns.shape[-1])], hash_type())
        key = ops.sum(ops.cast(columns, hash_type()) * powers, axis=2, keepdims=True)
        equal = ops.logical_and(key == ops.transpose(key, (0, 2, 1)), self._before)
        beaten = ops.logical_and(ops.any(equal, axis=2, keepdims=True), self.packer.ends_word(columns[:, :, :1]))
        return ops.where(beaten, 0.0, paths), ops.where(beaten, ops.zeros_like(hashes), hashes)

    @property
    def _before(self) -> np.ndarray:
        """[K,K], whether the second entry is before the first."""
        return np.tril(np.ones((self.beam_size, self.beam_size), bool), -1)

    def finish(self, state: BeamState, best: int) -> tuple[Any, Any]:
        """Ends the texts: (scores [B,M], entries b K + k [B,M] int32) of the M = `best` ones, the best first.

        "a b" and "a b " end as one text, and what is spelled in several ways. Entries that are no text have a score of
        about log 0.
        """
        total = ops.sum(state.paths, axis=2, keepdims=True)
        total = ops.where(total > 0, ops.log(ops.maximum(total, _SMALLEST)), LOG_ZERO)
        last, *states = ops.split(state.columns, state.columns.shape[-1], axis=2)
        for model, columns in zip(self.models, self._by_model(states), strict=True):
            total = total + model.end(columns)
        batch = ops.shape(total)[0]
        own, parent = ops.split(state.hashes, 2, axis=2)
        if self._texts is not None:
            same = ops.logical_and(own == ops.transpose(own, (0, 2, 1)), own != 0)
            beaten = ops.any(ops.logical_and(same, self._before), axis=2, keepdims=True)
            of_text = ops.where(same, ops.transpose(total, (0, 2, 1)), LOG_ZERO)
            total = ops.where(beaten, LOG_ZERO, ops.logsumexp(of_text, axis=2, keepdims=True))
        elif self.packer.space is not None:
            # [B,K,K]: the second ends with a space behind the first.
            same = ops.logical_and(own == ops.transpose(parent, (0, 2, 1)), own != 0)
            same = ops.logical_and(same, ops.transpose(last, (0, 2, 1)) == self.packer.space)
            spaced = ops.max(ops.where(same, ops.transpose(total, (0, 2, 1)), LOG_ZERO), axis=2, keepdims=True)
            total = ops.where(ops.any(same, axis=1)[:, :, None], LOG_ZERO, ops.logaddexp(total, spaced))
        scores, entries = ops.top_k(total[:, :, 0], best)
        row = ops.arange(batch, dtype="int32")[:, None]
        return scores + state.offset[:, 0], ops.cast(entries, "int32") + row * self.beam_size
