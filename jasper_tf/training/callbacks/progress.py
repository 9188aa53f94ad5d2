"""Shows the progress of a training run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable

import keras

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.io.progress import Progress as ProgressBar
from jasper_tf.io.progress import clock
from jasper_tf.model.flops import training_flops
from jasper_tf.training.distributed.device_peak import DevicePeak
from jasper_tf.training.run.training_state import TrainingState


class Progress(keras.callbacks.Callback):
    """A line for each epoch, and the progress within it: a bar on a terminal, elsewhere a log line every 30 s.

    They show epoch, step, loss (the mean of the epoch so far), learning rate, utterances and hours of audio per second
    of training, the utilization of the devices (MFU, see `RunLog`), and the time left. The speed is the epoch's; the
    time left is estimated from the whole run since its start, with validations and checkpoints.

    Args:
        say: prints a line.
        state: of the run.
        total_steps: optimizer steps of the whole run.
        batches: the training batches.
        validation_sets: names of the sets with an error rate of their own.
        peak: of all devices; None leaves the utilization out.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        state: TrainingState,
        total_steps: int,
        batches: SpeechBatches,
        validation_sets: Iterable[str] = (),
        peak: DevicePeak | None = None,
    ):
        super().__init__()
        self.validation_sets = list(validation_sets)
        self.say = say
        self.state = state
        self.total_steps = total_steps
        self.batches = batches
        self.epochs = batches.epochs(total_steps)
        self.peak = peak
        self._bar = ProgressBar("training", None)

    def on_train_begin(self, logs=None):
        self._began, self._first_step = time.perf_counter(), self.state.step
        self._flops_of = functools.cache(lambda samples: training_flops(self.model, samples))

    def on_epoch_begin(self, epoch, logs=None):
        self._plan = self.batches.plan(epoch)
        self._audio_len, _ = self.batches.lengths(epoch)
        self._utterances = self._samples = self._flops = 0
        self._seconds, self._since = 0.0, time.perf_counter()
        self._show(
            ProgressBar(
                f"epoch {epoch + 1}/{self.epochs}",
                len(self._plan),
                done=self.state.step_in_epoch,
                note=lambda: f"{self._step()}  {self._figures(self._logs)}  {self._speed()}",
                left_s=self._left_s,
            )
        )

    def on_train_batch_end(self, batch, logs=None):
        planned = self._plan[self.state.step_in_epoch - 1]
        index = planned.index
        self._utterances += len(index)
        if self.peak:
            self._flops += self._flops_of(planned.samples) * len(index)
        self._samples += int(self._audio_len[index].sum())
        self._seconds = time.perf_counter() - self._since
        self._logs = logs
        self._bar.advance()

    def on_test_begin(self, logs=None):
        self._show(ProgressBar("validating, batch", None, note=lambda: self._where(self.state.epoch)))

    def on_test_batch_end(self, batch, logs=None):
        self._bar.advance()

    def on_epoch_end(self, epoch, logs=None):
        figures = self._figures(logs)
        if "val_loss" in logs:
            figures += f"  val_loss {logs['val_loss']:.3f}"
        sets = [f"val_wer_{name}" for name in self.validation_sets]
        for key in ("val_wer", *sets, "val_cer", "val_wer_ema"):
            if key in logs:
                figures += f"  {key} {logs[key]:.2%}"
        if logs.get("infeasible"):
            figures += f"  {int(logs['infeasible'])} infeasible"
        self._bar.clear()
        self.say(f"{self._where(epoch)}  {figures}  {self._speed()}  {clock(self._left_s())} left")

    def on_train_end(self, logs=None):
        self._bar.clear()

    def _show(self, bar: ProgressBar) -> None:
        self._bar.clear()
        self._bar = bar

    def _where(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.epochs}  {self._step()}"

    def _step(self) -> str:
        return f"step {self.state.step}/{self.total_steps}"

    def _figures(self, logs: dict) -> str:
        return f"loss {logs['loss']:.3f}  lr {float(self.model.optimizer.learning_rate):.2e}"

    def _speed(self) -> str:
        seconds = max(self._seconds, 1e-9)
        audio = audio_speed(self._samples / self.model.sample_rate / seconds)
        used = f"  MFU {self._flops / seconds / self.peak.flop_per_s:.1%}" if self.peak else ""
        return f"{self._utterances / seconds:.1f} utt/s  {audio}{used}"

    def _left_s(self) -> float:
        steps = max(1, self.state.step - self._first_step)
        run_s = time.perf_counter() - self._began
        return (self.total_steps - self.state.step) * run_s / steps


def audio_speed(times_real_time: float) -> str:
    """Seconds of audio per second as text: hours of audio per second, or below 0.001 of these "2.8 x real time"."""
    hours = times_real_time / 3600
    if hours < 0.001:
        return f"{times_real_time:.2g} x real time"
    return f"{hours:.2g} h audio/s" if hours < 10 else f"{hours:.0f} h audio/s"
