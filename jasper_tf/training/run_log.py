"""Figures of a run: metrics.csv and TensorBoard curves."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import keras
import tensorflow as tf

from jasper_tf.data.pipeline import SpeechBatches
from jasper_tf.training.checkpoint import Position
from jasper_tf.whole_file import write_whole

_COLUMNS = (
    "step", "epoch", "loss", "learning_rate", "grad_norm", "utterances_per_s", "padding_share", "infeasible",
    "val_loss", "val_wer", "val_cer", "val_insertions", "val_deletions", "val_substitutions",
    "val_loss_ema", "val_wer_ema", "val_cer_ema", "learning_rate_scale",
)  # fmt: skip


class RunLog(keras.callbacks.Callback):
    """A row of metrics.csv and a point of each curve every `every_n_steps` steps and after each validation.

    Training figures are means over the steps since the row before; `infeasible` counts the utterances since then that
    CTC could not align. Rows beyond the step that a resumed run starts from are dropped: they will be written again.

    Args:
        csv_file: metrics.csv; None for a process that does not write.
        batches: the training batches, for sizes and padding.
        position: where the run stands; kept current by the training loop.
        every_n_steps: `trainer.log_every_n_steps`.
        tensorboard: folder for event files, or None.
    """

    def __init__(
        self,
        csv_file: Path | None,
        batches: SpeechBatches,
        position: Position,
        every_n_steps: int = 50,
        tensorboard: Path | None = None,
    ):
        super().__init__()
        self.csv_file = csv_file
        self.batches = batches
        self.position = position
        self.every_n_steps = every_n_steps
        self.writer = tf.summary.create_file_writer(str(tensorboard)) if tensorboard else None
        if csv_file:
            _drop_rows_after(csv_file, position.step)

    def on_epoch_begin(self, epoch, logs=None):
        self._plan = self.batches.plan(epoch)
        self._audio_len, _ = self.batches.lengths(epoch)
        self._begin_window()

    def on_train_batch_end(self, batch, logs=None):
        if self.position.step % self.every_n_steps == 0:
            self._write_window()

    def on_test_begin(self, logs=None):
        # Before the validation: it resets the sums, and its seconds are not the training's.
        self._write_window()

    def on_epoch_end(self, epoch, logs=None):
        self._write_window()
        row = {key: float(value) for key, value in logs.items() if key.startswith("val_") and key in _COLUMNS}
        if not row:
            return
        for metric in self.model.error_rates:
            if metric.name == "wer":
                _, substitutions, insertions, deletions = (int(n) for n in metric.counts.numpy())
                row |= {
                    "val_insertions": insertions,
                    "val_deletions": deletions,
                    "val_substitutions": substitutions,
                }
        self._write(epoch, row)

    def on_train_end(self, logs=None):
        if self.writer:
            self.writer.flush()

    def _begin_window(self) -> None:
        self._first = self.position.step_in_epoch
        self._sums = self._read_sums()
        self._time = time.perf_counter()

    def _read_sums(self) -> dict[str, float]:
        """Running sums of the model's metrics, from which a window's means are differences."""
        loss, norm = self.model.loss_mean, self.model.gradient_norm
        variables = {
            "loss": loss.total, "loss_count": loss.count, "grad_norm": norm.total, "grad_norm_count": norm.count,
            "infeasible": self.model.infeasible.total,
        }  # fmt: skip
        return {key: float(variable.numpy()) for key, variable in variables.items()}

    def _write_window(self) -> None:
        steps = self._plan[self._first : self.position.step_in_epoch]
        if not steps:
            return
        seconds = time.perf_counter() - self._time
        now, before = self._read_sums(), self._sums
        gained = {key: now[key] - before[key] for key in now}
        padded = sum(batch.samples * len(batch.index) for batch in steps)
        spoken = sum(int(self._audio_len[batch.index].sum()) for batch in steps)
        scale = {"learning_rate_scale": self.position.plateau["scale"]} if self.position.plateau else {}
        self._write(
            self.position.epoch,
            {
                **scale,
                "loss": gained["loss"] / max(gained["loss_count"], 1e-9),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "grad_norm": gained["grad_norm"] / max(gained["grad_norm_count"], 1e-9),
                "utterances_per_s": sum(len(batch.index) for batch in steps) / seconds,
                "padding_share": 1 - spoken / padded,
                "infeasible": gained["infeasible"],
            },
        )
        self._begin_window()

    def _write(self, epoch: int, row: dict[str, float]) -> None:
        if self.csv_file is None:
            return
        new = not self.csv_file.exists()
        with open(self.csv_file, "a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            if new:
                writer.writeheader()
            shown = {key: f"{value:.6g}" for key, value in row.items()}
            writer.writerow({"step": self.position.step, "epoch": epoch, **shown})
        if self.writer:
            with self.writer.as_default(step=self.position.step):
                for key, value in row.items():
                    group, name = ("validation", key[4:]) if key.startswith("val_") else ("train", key)
                    tf.summary.scalar(f"{group}/{name}", float(value))


def _drop_rows_after(csv_file: Path, step: int) -> None:
    if not csv_file.exists():
        return
    rows = list(csv.DictReader(io.StringIO(csv_file.read_text())))
    with write_whole(csv_file) as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        # A row without its last columns was being written when the run was killed.
        writer.writerows(row for row in rows if None not in row.values() and int(row["step"]) <= step)
