"""Keras model with the training and validation steps of CTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.losses.ctc import CTCLoss, ctc_feasible
from jasper_tf.model.keras_internals import BuiltModel


class CTCModel(BuiltModel):
    """A model with the outputs `{"logits", "logit_len"}` that is trained by CTC, under any synchronous strategy.

    Keras's own step fails under MultiWorkerMirroredStrategy, which cannot average results of replicas on other
    machines; here every replica computes the results of all.

    `compile` takes `loss=CTCLoss(...)`, `metrics=[ErrorRate(...)]`, `accumulate_grad_batches` and `gradient_clip_val`
    (global norm, of the summed gradient of all replicas and micro-batches; None for no clipping).
    """

    # The weights in the loss of the outputs before the last, by the names of their metrics; the last has the rest.
    loss_weights: Mapping[str, float] = {}
    _validating = False
    train_function: Any
    test_function: Any

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        loss: CTCLoss | None = None,
        metrics: Sequence[keras.Metric] = (),
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        jit_compile: bool = False,
        run_eagerly: bool = False,
    ) -> None:
        """Sets optimizer, loss (default: `CTCLoss()`) and validation metrics; see the class for the other two.

        `jit_compile`: XLA compiles the training step, once for each shape of a batch, on one device only. It never
        compiles the validation step, whose error rates are computed on the host.
        """
        super().compile(optimizer=optimizer, jit_compile=jit_compile, run_eagerly=run_eagerly)
        self.ctc = CTCLoss() if loss is None else loss
        self.error_rates = list(metrics)
        self.accumulate_grad_batches = accumulate_grad_batches
        self.gradient_clip_val = gradient_clip_val
        self.gradient_norm = keras.metrics.Mean(name="grad_norm")
        self.infeasible = keras.metrics.Sum(name="infeasible")
        self.blank_share = keras.metrics.Mean(name="blank_share")
        with keras.name_scope("loss"):
            self.loss_mean = keras.metrics.Mean(name="loss")
        names = [*self.loss_weights, "final_loss"] if self.loss_weights else []
        self.output_losses = [keras.metrics.Mean(name=name) for name in names]
        self.leaving = None
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # A process that must stop sets it; all read it in the same step and stop together.
            on_read, total = tf.VariableSynchronization.ON_READ, tf.VariableAggregation.SUM
            with self.distribute_strategy.scope():
                self.leaving = tf.Variable(0.0, trainable=False, synchronization=on_read, aggregation=total)

    def get_compile_config(self) -> dict | None:
        if not self.compiled:
            return None
        return keras.saving.serialize_keras_object(
            {
                "optimizer": self.optimizer,
                "loss": self.ctc,
                "metrics": list(self.error_rates),
                "accumulate_grad_batches": self.accumulate_grad_batches,
                "gradient_clip_val": self.gradient_clip_val,
            }
        )

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.Metric]:
        if not self.compiled:
            return []
        counts = [self.gradient_norm, self.infeasible, self.blank_share]
        return [self.loss_mean, *self.output_losses, *counts, *self.error_rates]

    def training_outputs(self, x: dict) -> list[dict]:
        """Computes the outputs that have a training loss: one for each of `loss_weights`, then the model's own."""
        return [self(x, training=True)]

    def train_step(self, data) -> dict:
        """One optimizer step with the gradient of the whole batch, computed in micro-batches.

        `data` is `(x, y)` or `(x, y, sample_weight [B])`; a row of weight 0 has no part in loss and gradient. The sum
        of the utterances' losses and the sum of their weights are reduced separately over micro-batches and replicas,
        so the step does not depend on how the batch is split; a replica or a micro-batch may be empty.
        """
        x, y, weight = _unpack(data)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        denominator = self._denominator(y, weight)
        batch_size = tf.shape(x["audio"])[0]
        parts = self.accumulate_grad_batches
        gradients: list = []
        shares = [*self.loss_weights.values(), 1.0 - sum(self.loss_weights.values())]
        losses = tf.zeros(len(shares))
        for k in range(parts):
            # The dependency keeps TensorFlow from holding the activations of two micro-batches at once.
            with tf.control_dependencies(gradients):
                rows = slice(batch_size * k // parts, batch_size * (k + 1) // parts)
                x_k, y_k, weight_k = keras.tree.map_structure(
                    lambda t, r=rows: None if t is None else tf.identity(t[r]), (x, y, weight)
                )
            with tf.GradientTape() as tape:
                outputs = self.training_outputs(x_k)
                numerators = tf.stack([self.ctc.numerator(y_k, output, weight_k) for output in outputs])
                part = tf.math.divide_no_nan(numerators, denominator)
                scaled = self.optimizer.scale_loss(tf.reduce_sum(part * shares))
            part_gradients = tape.gradient(scaled, self.trainable_variables)
            if self.jit_compile:
                # Of an empty micro-batch XLA's batch normalization makes NaN, TensorFlow's own makes 0.
                some = tf.shape(x_k["audio"])[0] > 0
                part_gradients = [tf.where(some, gradient, tf.zeros_like(gradient)) for gradient in part_gradients]
            gradients = [a + b for a, b in zip(gradients, part_gradients, strict=True)] if k else part_gradients
            losses += part
            self._count_infeasible(y_k, outputs[-1], weight_k)
            self._count_blanks(outputs[-1], weight_k)
        leaving = tf.zeros(()) if self.leaving is None else self.leaving.read_value()
        gradients, losses, leaving = _sum_over_replicas((gradients, losses, leaving))
        norm = tf.linalg.global_norm(gradients) / self.optimizer.scale_loss(tf.ones(()))
        if self.gradient_clip_val:
            factor = tf.minimum(1.0, self.gradient_clip_val / tf.maximum(norm, 1e-12))
            gradients = [g * factor for g in gradients]
        if replicas > 1:  # Keras sums over the replicas once more when it applies
            gradients = [g / replicas for g in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        share_of_replica = denominator / replicas
        self.loss_mean.update_state(tf.reduce_sum(losses * shares), sample_weight=share_of_replica)
        for k, metric in enumerate(self.output_losses):
            metric.update_state(losses[k], sample_weight=share_of_replica)
        # In half precision gradients sometimes overflow; the loss scale then falls and the step is skipped.
        finite = tf.math.is_finite(norm)
        self.gradient_norm.update_state(tf.where(finite, norm, 0.0), sample_weight=tf.cast(finite, "float32"))
        return self._results(validation=False) | ({} if self.leaving is None else {"leaving": leaving})

    def test_step(self, data) -> dict:
        x, y, weight = _unpack(data)
        prediction = self(x, training=False)
        denominator = self._denominator(y, weight)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        loss = tf.math.divide_no_nan(_sum_over_replicas(self.ctc.numerator(y, prediction, weight)), denominator)
        self.loss_mean.update_state(loss, sample_weight=denominator / replicas)
        self._count_infeasible(y, prediction, weight)
        for metric in self.error_rates:
            metric.update_state(y, prediction, sample_weight=weight)
        return self._results(validation=True)

    def evaluate(self, *args, **kwargs):
        """Evaluates like `keras.Model.evaluate`, with the error rates among the results."""
        self._validating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._validating = False

    def leave(self, weight: float) -> None:
        """Tells the other machines that this one must stop: adds `weight` to `leaving` in the next steps on all."""
        # Part by part: assigning the whole would wait for the other machines.
        for part in self.distribute_strategy.experimental_local_results(self.leaving):
            part.assign(weight)

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            self.train_function = self._function(self.train_step, jit_compile=bool(self.jit_compile))

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            self.test_function = self._function(self.test_step)

    def _function(self, step: Callable, jit_compile: bool = False) -> Callable[[Iterator], dict]:
        """Makes the function iterator -> results of a step on all replicas."""
        strategy = self.distribute_strategy
        if jit_compile:
            step = tf.function(step, jit_compile=True, autograph=False)

        def on_batch(data) -> dict:
            results = strategy.run(step, args=(data,))
            return keras.tree.map_structure(lambda v: strategy.experimental_local_results(v)[0], results)

        def on_iterator(iterator) -> dict:
            return on_batch(next(iterator))

        if self.run_eagerly:
            return on_iterator
        on_batch = tf.function(on_batch, reduce_retracing=True, autograph=False)
        # The batch is drawn inside: TensorFlow then knows that shapes vary, and traces once.
        drawing = tf.function(on_iterator, autograph=False)
        datasets = (tf.data.Iterator, tf.distribute.DistributedIterator)
        return lambda iterator: (drawing if isinstance(iterator, datasets) else on_iterator)(iterator)

    def get_metrics_result(self) -> dict:
        """The results of the phase that ends, over all replicas; within a step error rates are the first replica's."""
        return self._results(self._validating)

    def _results(self, validation: bool) -> dict:
        phase = self.error_rates if validation else [self.gradient_norm]
        return {m.name: m.result() for m in (self.loss_mean, self.infeasible, *phase)}

    def _denominator(self, y: dict, weight):
        """The divisor of the summed losses of all replicas."""
        denominator = self.ctc.denominator(y, weight)
        return denominator if self.ctc.reduction == "sum" else _sum_over_replicas(denominator)

    def _count_infeasible(self, y: dict, prediction: dict, weight) -> None:
        infeasible = ~ctc_feasible(y["labels"], y["label_len"], prediction["logit_len"])
        if weight is not None:
            infeasible &= tf.reshape(weight, [-1]) != 0
        self.infeasible.update_state(tf.cast(infeasible, "float32"))

    def _count_blanks(self, prediction: dict, weight) -> None:
        """Updates the share of valid frames [B,T'] whose best class is the blank; in training only."""
        logits = prediction["logits"]
        valid = valid_frames(prediction["logit_len"], tf.shape(logits)[1])
        if weight is not None:
            valid &= tf.reshape(weight, [-1, 1]) != 0
        blank = tf.argmax(logits, axis=-1) == logits.shape[-1] - 1
        self.blank_share.update_state(tf.cast(blank, "float32"), sample_weight=tf.cast(valid, "float32"))


def _unpack(data) -> tuple:
    """(x, y, weight [B] or None) of a batch; of arrays Keras repeats the weights for each entry of y."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    # Where the length is known, TensorFlow removes the reshapes that repair what oneDNN makes of an empty micro-batch.
    x = {**x, "audio": tf.compat.v1.placeholder_with_default(x["audio"], (None, None))}
    return x, y, weight["label_len"] if isinstance(weight, Mapping) else weight


def _sum_over_replicas(value):
    replica = tf.distribute.get_replica_context()
    return value if replica.num_replicas_in_sync == 1 else replica.all_reduce(tf.distribute.ReduceOp.SUM, value)
