"""What a person sees while a model trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import keras

from jasper_tf.training.checkpoint import Position


class Progress(keras.callbacks.Callback):
    """A line that moves on a terminal, and one line for each epoch everywhere, with the time left.

    Args:
        say: prints a line that stays.
        position: where the run stands.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of an epoch.
        batch_size: utterances of a step.
    """

    def __init__(
        self, say: Callable[[str], None], position: Position, total_steps: int, steps_per_epoch: int, batch_size: int
    ):
        super().__init__()
        self.say = say
        self.position = position
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.epochs = -(-total_steps // steps_per_epoch)
        self.moves = sys.stdout.isatty()

    def on_train_begin(self, logs=None):
        self._began, self._first_step = time.perf_counter(), self.position.step
        self._drawn = 0.0

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self.moves and now - self._drawn > 0.2:
            self._drawn = now
            done = self.position.step_in_epoch / self.steps_per_epoch
            bar = ("#" * round(24 * done)).ljust(24, ".")
            print(
                f"\r[{bar}] {self._where(self.position.epoch)}  loss {logs['loss']:.3f}  {self._pace()}\x1b[K", end=""
            )

    def on_test_begin(self, logs=None):
        if self.moves:
            print(f"\r{self._where(self.position.epoch)}  validating\x1b[K", end="", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        figures = f"loss {logs['loss']:.3f}"
        if "val_loss" in logs:
            figures += f"  val_loss {logs['val_loss']:.3f}"
        figures += "".join(
            f"  val_{unit} {logs[f'val_{unit}']:.2%}" for unit in ("wer", "cer", "wer_ema") if f"val_{unit}" in logs
        )
        if logs.get("infeasible"):
            figures += f"  {int(logs['infeasible'])} infeasible"
        print("\r\x1b[K" if self.moves else "", end="")
        self.say(f"{self._where(epoch)}  {figures}  {self._pace()}")

    def _where(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.epochs}  step {self.position.step}/{self.total_steps}"

    def _pace(self) -> str:
        seconds = time.perf_counter() - self._began
        steps = max(1, self.position.step - self._first_step)
        left = round((self.total_steps - self.position.step) * seconds / steps)
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        return f"{steps * self.batch_size / seconds:.1f} utt/s  {clock} left"
