"""Connectionist temporal classification (CTC): the loss of an utterance over all its alignments."""

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.losses.forward_backward import forward_backward

_REDUCTIONS = ("mean_batch", "mean_volume", "mean", "sum")


def _inside(length, size):
    """As `valid_frames` of features, which losses do not import: [B] -> [B, size] bool."""
    return ops.arange(size, dtype="int32") < length[:, None]


def ctc_feasible(labels, label_len, logit_len):
    """Whether an alignment exists: a frame for each label, and one more between two equal neighbors.

    Args:
        labels: [B, U] int32, anything beyond `label_len`.
        label_len: [B].
        logit_len: [B], frames.

    Returns:
        [B] bool.
    """
    labels = ops.cast(labels, "int32")
    label_len = ops.cast(label_len, "int32")
    repeats = ops.logical_and(labels[:, 1:] == labels[:, :-1], _inside(label_len, ops.shape(labels)[1])[:, 1:])
    return label_len + ops.sum(ops.cast(repeats, "int32"), axis=1) <= ops.cast(logit_len, "int32")


def _nll_and_gradient(labels, label_len, logits, logit_len):
    """Negative log-likelihood [B] and its gradient [B, T', V + 1] for the logits; both undefined in infeasible rows."""
    batch, frames, classes = ops.shape(logits)
    size = ops.shape(labels)[1]
    log_probs = ops.log_softmax(logits, axis=-1)
    labels = ops.where(_inside(label_len, size), ops.clip(labels, 0, classes - 1), classes - 1)
    active = _inside(logit_len, frames)
    likelihood, symbols, posterior = forward_backward(
        ops.transpose(log_probs, (1, 2, 0)), ops.transpose(labels), label_len, ops.transpose(active)
    )
    rows = ops.reshape(symbols * batch + ops.arange(batch, dtype="int32"), (-1,))
    posterior = ops.transpose(ops.reshape(posterior, (frames, (size + 1) * batch)))
    posterior = ops.segment_sum(posterior, rows, classes * batch)
    posterior = ops.transpose(ops.reshape(posterior, (classes, batch, frames)), (1, 2, 0))
    invalid = ops.any(ops.logical_and(active, ops.isnan(log_probs[:, :, 0])), axis=1)
    return ops.where(invalid, float("nan"), -likelihood), ops.exp(log_probs) - posterior


def ctc_loss(labels, label_len, logits, logit_len):
    """Negative log-likelihood of the labels (Graves et al. 2006, section 4.1), and its exact gradient.

    O(T' U) in time; float32 whatever the policy. The gradient is softmax minus state posterior (their equation 16),
    computed together with the loss.

    Args:
        labels: [B, U] int32 in [0, V), anything beyond `label_len`.
        label_len: [B].
        logits: [B, T', V + 1], unnormalized or log-probabilities; the blank is the last class.
        logit_len: [B], frames.

    Returns:
        [B] float32, nats: 0, with gradient 0, where no alignment exists; NaN where a label is outside [0, V).
    """
    labels, label_len, logit_len = (ops.cast(x, "int32") for x in (labels, label_len, logit_len))
    logits = ops.cast(logits, "float32")
    frames, classes = ops.shape(logits)[1:]
    inside = _inside(label_len, ops.shape(labels)[1])
    unknown = ops.any(ops.logical_and(inside, ops.logical_or(labels < 0, labels >= classes - 1)), axis=1)
    logit_len = ops.minimum(logit_len, frames)
    feasible = ctc_feasible(labels, label_len, logit_len)
    counted = ops.logical_and(_inside(logit_len, frames), feasible[:, None])

    @ops.custom_gradient
    def loss(logits):
        # Called eagerly, TensorFlow would otherwise derive the gradient of the loops too.
        nll, gradient = _nll_and_gradient(labels, label_len, ops.stop_gradient(logits), logit_len)
        nll = ops.where(feasible, nll, 0.0)
        gradient = ops.where(counted[:, :, None], gradient, 0.0)

        def backward(upstream):
            return upstream[:, None, None] * gradient

        return nll, backward

    return ops.where(unknown, float("nan"), loss(logits))


@keras.saving.register_keras_serializable(package="jasper_tf")
class CTCLoss(keras.losses.Loss):
    """CTC loss of a batch (NeMo: CTCLoss with zero_infinity).

    With n the negative log-likelihood of an utterance, 0 where no alignment exists:

    - `mean_batch`: sum n / utterances
    - `mean_volume`: sum n / sum of label lengths
    - `mean`: sum (n / label length) / utterances
    - `sum`: sum n

    A label length of 0 counts as 1 in the division. An utterance without alignment counts in the denominators; one of
    weight 0 does not.

    Args:
        reduction: one of the four. Default: "mean_batch".

    Call arguments:
        y_true: {"labels": [B, U] int32, "label_len": [B]}.
        y_pred: {"logits": [B, T', V + 1], "logit_len": [B]}.
        sample_weight: [B]; weighs an utterance in numerator and denominator.

    Returns:
        Scalar float32; 0 for a batch with no weight.
    """

    def __init__(self, reduction: str = "mean_batch", name: str = "ctc"):
        if reduction not in _REDUCTIONS:
            raise UserError(f"ctc_reduction: {reduction!r} is unknown; use one of {', '.join(_REDUCTIONS)}")
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.reduction = reduction

    def __call__(self, y_true, y_pred, sample_weight=None):
        """In place of the base class's, which would turn labels and lengths into floats."""
        share = self.denominator(y_true, sample_weight)
        total = self.numerator(y_true, y_pred, sample_weight)
        return ops.where(share > 0, total / ops.where(share > 0, share, 1.0), 0.0)

    def numerator(self, y_true, y_pred, sample_weight=None):
        """The sum over the utterances; the sums over parts of a batch add up to it."""
        with keras.name_scope(self.name):
            nll = self.call(y_true, y_pred)
            if self.reduction == "mean":
                nll = nll / ops.maximum(ops.cast(y_true["label_len"], "float32"), 1.0)
            weight = _weight(y_true, sample_weight)
            # Not a product: a NaN in a row of weight 0 must not count.
            return ops.sum(ops.where(weight > 0, weight * nll, 0.0))

    def denominator(self, y_true, sample_weight=None):
        """The divisor of the sum; known before the model runs."""
        weight = _weight(y_true, sample_weight)
        if self.reduction == "sum":
            return ops.ones(())
        return ops.sum(weight * ops.cast(y_true["label_len"], "float32") if self.reduction == "mean_volume" else weight)

    def call(self, y_true, y_pred):
        """Loss of each utterance [B]."""
        return ctc_loss(y_true["labels"], y_true["label_len"], y_pred["logits"], y_pred["logit_len"])

    def get_config(self) -> dict:
        return {"reduction": self.reduction, "name": self.name}


def _weight(y_true, sample_weight):
    """[B] float32."""
    length = ops.cast(y_true["label_len"], "float32")
    if sample_weight is None:
        return ops.ones_like(length)
    return ops.reshape(ops.cast(sample_weight, "float32"), ops.shape(length))
