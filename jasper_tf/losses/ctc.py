"""Connectionist temporal classification (CTC): the loss of an utterance over all its alignments."""

import keras
from keras import ops

from jasper_tf.errors import UserError

# Used for log 0; finite, so that the difference of two of them is not NaN.
_LOG_ZERO = -1e30

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


def _walk(emission, active, jump_cost, start):
    """Computes the log-probability of each state after each frame, minus the sum of the row's earlier maxima.

    With n = 2 U + 1 states.

    Args:
        emission: [T', B, n] log-probabilities of the states' symbols.
        active: [T', B] bool; in other frames a row keeps its values.
        jump_cost: [B, n], 0 where state s can follow state s - 2, else log 0.
        start: [B, n + 2], the values before the first frame; two columns on the left avoid edge cases.

    Returns:
        (last [B, n + 2], all [T', B, n + 2]).
    """
    edge = ops.full_like(start[:, :2], _LOG_ZERO)

    def step(mass, t):
        stay, move, jump = mass[:, 2:], mass[:, 1:-1], mass[:, :-2] + jump_cost
        top = ops.maximum(ops.maximum(stay, move), jump)
        total = top + ops.log(ops.exp(stay - top) + ops.exp(move - top) + ops.exp(jump - top))
        # Without subtracting the maximum, values fall below -1000, where float32 has steps of 1e-4: too coarse for
        # the gradient.
        # `initial` is for B = 0, and avoids an assertion per frame.
        total = total + (emission[t] - ops.max(mass, axis=1, keepdims=True, initial=_LOG_ZERO))
        mass = ops.where(active[t][:, None], ops.concatenate([edge, total], axis=1), mass)
        return mass, mass

    # Scans over frame numbers: on TensorFlow keras.ops.scan takes no second tensor of unknown length (keras 3.15).
    return ops.scan(step, start, ops.arange(ops.shape(emission)[0], dtype="int32"))


def _nll_and_gradient(labels, label_len, logits, logit_len):
    """Negative log-likelihood [B] and its gradient [B, T', V + 1] for the logits; both undefined in infeasible rows.

    The states are blank, label, blank, ..., blank: 2 U + 1. The backward pass is the forward pass over the reversed
    utterance, so both run in one loop, concatenated along the batch.
    """
    batch, frames, classes = ops.shape(logits)
    size = ops.shape(labels)[1]
    states = 2 * size + 1
    blank = classes - 1
    state = ops.arange(states, dtype="int32")

    labels = ops.where(_inside(label_len, size), ops.clip(labels, 0, blank), blank)
    pairs = ops.reshape(ops.stack([ops.full_like(labels, blank), labels], axis=2), (batch, 2 * size))
    nothing = ops.full((batch, 2), -1, dtype="int32")
    symbols = ops.concatenate([pairs, ops.full((batch, 1), blank, dtype="int32")], axis=1)
    before = ops.concatenate([nothing, symbols], axis=1)[:, :-2]
    after = ops.concatenate([symbols, nothing], axis=1)[:, 2:]

    log_probs = ops.log_softmax(logits, axis=-1)
    columns = ops.reshape(symbols + classes * ops.arange(batch, dtype="int32")[:, None], (-1,))
    emission = ops.reshape(ops.transpose(log_probs, (0, 2, 1)), (batch * classes, frames))
    emission = ops.reshape(ops.take(emission, columns, axis=0), (batch, states, frames))
    # With the states beyond the labels closed, the reversed utterance can start anywhere in the row.
    last = 2 * label_len[:, None]
    emission = ops.where((state <= last)[:, :, None], emission, _LOG_ZERO)
    emission = ops.transpose(emission, (2, 0, 1))
    active = ops.transpose(_inside(logit_len, frames))

    column = ops.arange(states + 2, dtype="int32")
    entry = ops.concatenate([ops.ones_like(last), states - last], axis=0)
    jumps = ops.concatenate([symbols != before, ops.flip(symbols != after, axis=1)], axis=0)
    end, masses = _walk(
        ops.concatenate([emission, ops.flip(emission, axis=(0, 2))], axis=1),
        ops.concatenate([active, ops.flip(active, axis=0)], axis=1),
        ops.where(jumps, 0.0, _LOG_ZERO),
        ops.where(column == entry, 0.0, _LOG_ZERO),
    )

    final = ops.logical_or(column == last + 2, column == last + 1)
    nll = -ops.logsumexp(ops.where(final, end[:batch], _LOG_ZERO), axis=1)
    # The first frame subtracts the maximum of `start`, which is 0.
    taken = ops.where(active[1:], ops.max(masses[:-1, :batch], axis=2, initial=_LOG_ZERO), 0.0)
    nll = nll - ops.sum(taken, axis=0)

    posterior = masses[:, :batch, 2:] + ops.flip(masses[:, batch:, 2:], axis=(0, 2)) - emission
    posterior = ops.transpose(ops.softmax(posterior, axis=2), (1, 2, 0))
    posterior = ops.segment_sum(ops.reshape(posterior, (batch * states, frames)), columns, batch * classes)
    posterior = ops.transpose(ops.reshape(posterior, (batch, classes, frames)), (0, 2, 1))
    return nll, ops.exp(log_probs) - posterior


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
        nll, gradient = _nll_and_gradient(labels, label_len, logits, logit_len)
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
