"""Training loop that can start inside an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.training.iterator_deletion import iterators_deleted
from jasper_tf.training.run.training_state import TrainingState


@iterators_deleted()
def run_epochs(
    model: JasperCTC,
    training: SpeechBatches,
    validation: SpeechBatches | None,
    state: TrainingState,
    total_steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    validate_every: int = 1,
) -> None:
    """Trains like `model.fit`, but can start inside an epoch, or between its last step and its validation.

    Keras's own loop starts only at an epoch. The callbacks are called as by `fit`; `state` is updated before they are.

    Args:
        model: compiled, under the strategy it was built in.
        training, validation: batches; None for no validation.
        state: where to start; updated after each step and epoch.
        total_steps: optimizer steps of the whole run.
        callbacks: in order; one may stop the run with `model.stop_training`.
        validate_every: epochs from one validation to the next.
    """
    epochs = training.epochs(total_steps)
    watching = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs)
    data = iter(training.distributed(model.distribute_strategy, state.epoch, state.step_in_epoch, endless=True))
    model.make_train_function()
    model.stop_training = False
    watching.on_train_begin()
    # By steps, not epochs: a run whose last epoch max_steps cut short may be extended.
    while state.step < total_steps or state.step_in_epoch:
        epoch = state.epoch
        model.reset_metrics()
        epoch_began = state.step - state.step_in_epoch
        steps = min(training.steps(epoch), total_steps - epoch_began)
        watching.set_params(watching.params | {"steps": steps})
        watching.on_epoch_begin(epoch)
        for step in range(state.step_in_epoch, steps):
            if model.stop_training:
                break
            watching.on_train_batch_begin(step)
            logs = model.train_function(data)
            state.step, state.step_in_epoch = state.step + 1, step + 1
            watching.on_train_batch_end(step, logs)
        figures = {key: float(value) for key, value in model.get_metrics_result().items()}
        if validation is not None and (epoch + 1) % validate_every == 0:
            figures |= {f"val_{key}": value for key, value in evaluate(model, validation, watching).items()}
        state.metrics = {key: value for key, value in figures.items() if key.startswith("val_")}
        watching.on_epoch_end(epoch, figures)
        state.epoch, state.step_in_epoch = epoch + 1, 0
        if model.stop_training:
            break
    watching.on_train_end()


def evaluate(
    model: JasperCTC, batches: SpeechBatches, callbacks: keras.callbacks.CallbackList | None = None
) -> dict[str, float]:
    """Evaluates `model` on all devices of its strategy: `{"loss": ..., "wer": ..., ...}`.

    The result includes the counts of inserted, deleted and substituted words. Each of `batches.sets` has its own
    results (`wer_NAME`, ...); `wer` is over the words of all sets.
    """
    figures: dict[str, float] = {}
    state = None
    for name, part in batches.sets.items() or [("", batches)]:
        data = part.distributed(model.distribute_strategy)
        results = model.evaluate(data, steps=part.steps_per_epoch, callbacks=callbacks, return_dict=True, verbose=0)
        if name:
            figures |= {f"{key}_{name}": float(results[key]) for key in ("loss", "wer", "cer")}
        counted = [
            keras.ops.convert_to_numpy(v)
            for metric in (model.loss_mean, model.infeasible, *model.error_rates)
            for v in metric.variables
        ]
        state = counted if state is None else [a + b for a, b in zip(state, counted, strict=True)]
    assert state is not None
    loss, weight, infeasible, *counts = state
    figures |= {"loss": float(loss / weight), "infeasible": float(infeasible)}
    for metric, (hits, *wrong) in zip(model.error_rates, counts, strict=True):
        substitutions, insertions, deletions = (int(n) for n in wrong)
        reference = hits + substitutions + deletions
        figures[metric.name] = (substitutions + insertions + deletions) / max(1, int(reference))
        if metric.unit == "word":
            figures |= {"insertions": insertions, "deletions": deletions, "substitutions": substitutions}
    return figures
