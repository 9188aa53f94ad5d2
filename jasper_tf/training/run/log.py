"""Logs the metrics of a run to metrics.csv and TensorBoard."""

from __future__ import annotations

import csv
import functools
import io
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.model.flops import training_flops
from jasper_tf.model.keras_internals import TensorBoardFolder
from jasper_tf.training.callbacks.update_ratio import UpdateRatio
from jasper_tf.training.distributed.device_peak import DevicePeak
from jasper_tf.training.run.event_files import drop_events
from jasper_tf.training.run.training_state import TrainingState

_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "grad_norm",
    "update_ratio",
    "blank_share",
    "infeasible",
    "padding_ratio",
    "utterances_per_s",
    "steps_per_s",
    "model_flop_per_s",
    "mfu",
    "val_loss",
    "val_wer",
    "val_cer",
    "val_insertions",
    "val_deletions",
    "val_substitutions",
    "val_loss_ema",
    "val_wer_ema",
    "val_cer_ema",
    "learning_rate_scale",
)
_RENAMED = {"padding_share": "padding_ratio"}  # columns of older versions
# Sorts after "validation": TensorBoard opens only the first groups, and deep models have many layers.
_LAYERS = "weight_update_ratio"
_BEST_OF = ("val_loss", "val_wer", "val_cer")


class RunLog(TensorBoardFolder):
    """Writes a row of metrics.csv and a point of each curve every `every_n_steps` steps and after each validation.

    Training metrics are means over the steps since the last row; `infeasible` counts the utterances since then that CTC
    could not align; `update_ratio` is the median over the layers at the row's step (TensorBoard has a curve per layer).
    `model_flop_per_s` counts padded frames too: see `training_flops`. `mfu`, the model FLOPs utilization (PaLM, arXiv
    2204.02311, appendix B), is its share of `peak`.

    A resumed run writes the same rows as an uninterrupted one, except for the speeds: rows and events after the state
    that it resumes from are removed, and the sums of the unfinished window and epoch are restored from `state.log`,
    which this callback updates. So it must come after `AverageWeights` and before `SaveCheckpoints`.

    Args:
        csv_file: metrics.csv; None writes nothing (one of several machines writes, but all compute the sums).
        batches: the training batches, for sizes and padding.
        state: of the run; kept current by the training loop.
        every_n_steps: `trainer.log_every_n_steps`.
        tensorboard: folder for event files, or None.
        validation_sets: their names, if there are several.
        output_losses: names of the terms of the training loss, if there are several.
        peak: of all devices; None leaves `mfu` out.

    Other callbacks must use its `writer` too, and come before it: it closes the file. The curves are by optimizer step,
    where Keras's callback has one point per epoch and counts from 0 after a restart.
    """

    def __init__(
        self,
        csv_file: Path | None,
        batches: SpeechBatches,
        state: TrainingState,
        every_n_steps: int = 50,
        tensorboard: Path | None = None,
        validation_sets: Iterable[str] = (),
        output_losses: Iterable[str] = (),
        peak: DevicePeak | None = None,
    ):
        super().__init__(tensorboard or "", write_graph=False)
        self._output_losses = tuple(output_losses)
        self._columns = (*_COLUMNS, *self._output_losses) + tuple(
            f"val_{kind}_{name}{ema}"
            for name in validation_sets
            for ema in ("", "_ema")
            for kind in ("loss", "wer", "cer")
        )
        self.csv_file = csv_file
        self.batches = batches
        self.state = state
        self.every_n_steps = every_n_steps
        self.peak = peak
        rows = _drop_rows_after(csv_file, state, self._columns) if csv_file else []
        self._rows = len(rows)
        if tensorboard:
            drop_events(tensorboard, _written_before(state, rows))
        self._ratios: dict[str, float] = {}
        self._first = 0
        self._before: dict[str, float] = {}

    def on_train_begin(self, logs=None):
        self._update_ratio = UpdateRatio(self.model)
        self._flops = functools.cache(lambda samples: training_flops(self.model, samples))

    def on_epoch_begin(self, epoch, logs=None):
        self._plan = self.batches.plan(epoch)
        self._audio_len, _ = self.batches.lengths(epoch)
        # Keras has just reset the sums, also inside an epoch that resumes.
        log = self.state.log if self.state.step_in_epoch else {}
        for key, variable in self._sum_variables().items():
            if f"sum/{key}" in log:
                variable.assign(log[f"sum/{key}"])
        self._sums = self._read_sums()
        self._begin_window()
        if "window/first_step" in log:
            self._first = int(log["window/first_step"])
        self._ratios = {key.removeprefix("ratio/"): log[key] for key in log if key.startswith("ratio/")}
        self._before = self._before | {key: log[f"window/{key}"] for key in self._before if f"window/{key}" in log}

    def on_train_batch_begin(self, batch, logs=None):
        if (self.state.step + 1) % self.every_n_steps == 0 or batch + 1 == self.params["steps"]:
            self._update_ratio.before_step()

    def on_train_batch_end(self, batch, logs=None):
        self._ratios = self._update_ratio.after_step()
        self._sums = self._read_sums()
        if self.state.step % self.every_n_steps == 0:
            self._write_window()
        self._keep_state()

    def on_test_begin(self, logs=None):
        # Before the validation, which resets the sums and takes time.
        self._write_window()
        self._keep_state()

    def on_epoch_end(self, epoch, logs=None):
        self._write_window()
        row = {key: value for key, value in logs.items() if key in self._columns and key.startswith("val_")}
        if row:
            self._write(epoch, row)
            self._write_best(row)
        self._keep_state(inside_epoch=False)

    def on_test_end(self, logs=None):
        """Nothing: `on_epoch_end` gets the results of all validation sets together."""

    # ------------------------------------------------------------------ sums

    def _sum_variables(self) -> dict[str, keras.Variable]:
        """Maps names to the running sums of the epoch, in the model's training metrics."""
        metrics = [m for m in self.model.metrics if m not in self.model.error_rates]
        return {f"{m.name}/{v.name}": v for m in metrics for v in m.variables}

    @functools.cached_property
    def _stacked_sums(self) -> Callable:
        """Returns a function that reads all sums as one vector, with one reduction over devices and machines."""
        strategy, variables = self.model.distribute_strategy, list(self._sum_variables().values())

        @tf.function
        def stacked_sums():
            local = strategy.run(lambda: tf.stack([tf.cast(variable.value, tf.float32) for variable in variables]))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, local, axis=None)

        return stacked_sums

    def _read_sums(self) -> dict[str, float]:
        return dict(zip(self._sum_variables(), self._stacked_sums().numpy().tolist(), strict=True))

    def _begin_window(self) -> None:
        self._first = self._timed_from = self.state.step_in_epoch
        self._before = self._sums
        self._time = time.perf_counter()

    def _keep_state(self, inside_epoch: bool = True) -> None:
        best = {key: value for key, value in self.state.log.items() if key.startswith("best/")}
        self.state.log = {"rows": self._rows, **best}
        if inside_epoch:
            self.state.log["window/first_step"] = self._first
            self.state.log |= {f"window/{key}": value for key, value in self._before.items()}
            self.state.log |= {f"sum/{key}": value for key, value in self._sums.items()}
            # Not empty only between the last step of an epoch and its validation.
            self.state.log |= {f"ratio/{layer}": value for layer, value in self._ratios.items()}

    # ------------------------------------------------------------------ writing

    def _write_window(self) -> None:
        steps = self._plan[self._first : self.state.step_in_epoch]
        if not steps:
            return
        timed = self._plan[self._timed_from : self.state.step_in_epoch]
        seconds = time.perf_counter() - self._time
        gained = {key: self._sums[key] - self._before[key] for key in self._sums}

        def mean(name: str) -> float:
            return gained[f"{name}/total"] / max(gained[f"{name}/count"], 1e-9)

        padded = sum(batch.samples * len(batch.index) for batch in steps)
        spoken = sum(int(self._audio_len[batch.index].sum()) for batch in steps)
        row = {
            **{name: mean(name) for name in ("loss", *self._output_losses)},
            "learning_rate": float(self.model.optimizer.learning_rate),
            "grad_norm": mean("grad_norm"),
            "blank_share": mean("blank_share"),
            "infeasible": gained["infeasible/total"],
            "padding_ratio": 1 - spoken / padded,
            "utterances_per_s": sum(len(batch.index) for batch in timed) / seconds,
            "steps_per_s": len(timed) / seconds,
            "model_flop_per_s": sum(self._flops(batch.samples) * len(batch.index) for batch in timed) / seconds,
        }
        if self.peak:
            row["mfu"] = row["model_flop_per_s"] / self.peak.flop_per_s
        if self.state.plateau:
            row["learning_rate_scale"] = self.state.plateau["scale"]
        if self._ratios:
            row["update_ratio"] = float(np.median(list(self._ratios.values())))
        self._write(self.state.epoch, row)
        self._write_scalars({f"{_LAYERS}/{layer}": ratio for layer, ratio in self._ratios.items()})
        self._ratios = {}
        self._begin_window()

    def _write_best(self, row: dict[str, float]) -> None:
        """Writes the best value so far as a curve, whose last point the HPARAMS page shows."""
        for key in _BEST_OF:
            value, before = row.get(key, math.nan), self.state.log.get(f"best/{key}", math.inf)
            if not math.isnan(value):
                self.state.log[f"best/{key}"] = min(value, before)
                self._write_scalars({f"validation/best_{key[4:]}": min(value, before)})

    def _write(self, epoch: int, row: dict[str, float]) -> None:
        self._rows += 1
        if self.csv_file:
            new = not self.csv_file.exists()
            with open(self.csv_file, "a", newline="") as file:
                writer = csv.DictWriter(file, self._columns)
                if new:
                    writer.writeheader()
                shown = {key: f"{value:.6g}" for key, value in row.items()}
                writer.writerow({"step": self.state.step, "epoch": epoch, **shown})
        self._write_scalars(
            {f"validation/{k[4:]}" if k.startswith("val_") else f"train/{k}": value for k, value in row.items()}
        )

    def _write_scalars(self, values: dict[str, float]) -> None:
        if self.log_dir and self.csv_file:
            with self.writer.as_default(step=self.state.step):
                for tag, value in values.items():
                    self.summary.scalar(tag, float(value))
            # Before a checkpoint that may follow: the events must not be lost with the process.
            self.writer.flush()


def _drop_rows_after(csv_file: Path, state: TrainingState, columns: Sequence[str]) -> list[dict[str, str]]:
    """Removes the rows written after `state` was saved; returns the others.

    Raises:
        UserError: the file is damaged; it is not changed.
    """
    if not csv_file.exists():
        return []
    rows = [row for row in _read_rows(csv_file) if int(row["step"]) <= state.step]
    # At the same step there may be later rows, such as a validation's.
    rows = rows[: int(state.log.get("rows", len(rows)))]
    with atomic_write(csv_file) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _read_rows(csv_file: Path) -> list[dict[str, str]]:
    def damaged(reason: str) -> UserError:
        return UserError(f"{csv_file}: {reason}; put an intact copy back, or move the file away to start a new one")

    try:
        text = csv_file.read_bytes().decode("utf-8")  # in binary: a cut may be between \r and \n
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(str(error.strerror) if isinstance(error, OSError) else "not UTF-8 text") from error
    # A line without its end was being written when the run was killed.
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    try:
        reader.fieldnames = [_RENAMED.get(name, name) for name in reader.fieldnames or ()]
        rows = list(reader)
    except csv.Error as error:
        raise damaged(f"line {reader.line_num + 1}: {error}") from error
    if "\n" not in text and "step,epoch".startswith(text[:10]):
        return []
    if not {"step", "epoch", "loss"} <= set(reader.fieldnames or ()):
        raise damaged("its first line does not contain step, epoch and loss")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values() or not row["step"].isdecimal() or len(row["step"]) > 18:
            raise damaged(f"line {line} is not a row of this table")
    return rows


def _written_before(state: TrainingState, rows: list[dict[str, str]]) -> Callable[[int, str], bool]:
    """Returns whether an event of (step, tag) was written before `state` was saved, when metrics.csv had `rows`."""
    newest = [row for row in rows if int(row["step"]) == state.step]
    kinds = {"training" if row["loss"] else "validation" for row in newest}

    def keep(step: int, tag: str) -> bool:
        # Hyper-parameters have no step; a resumed run writes them again.
        if state.step == 0 or tag.startswith("_hparams_/") or step > state.step:
            return False
        kind = "training" if tag.startswith(("train/", f"{_LAYERS}/")) else "validation"
        return step < state.step or kind in kinds

    return keep
