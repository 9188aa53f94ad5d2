"""Finds what keeps a model from being computed chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jasper_tf.errors import UserError

if TYPE_CHECKING:  # it has a StreamingModel
    from jasper_tf.model.jasper_ctc import JasperCTC


def require_streamable(model: JasperCTC) -> None:
    """Raises a UserError that names the first key of a configuration that needs the whole recording.

    Every frame of the output must depend on finitely many samples: no statistics over a recording.
    """
    log_mel, normalization = model.get_layer("log_mel"), model.get_layer("normalization")
    encoder = model.encoder.get_config()
    statistics = "needs the statistics of the whole recording"
    reasons = [
        (
            log_mel.generation == "legacy",
            "preprocessor.generation: legacy",
            "pads by reflection; use modern",
        ),
        (log_mel.exact_pad, "preprocessor.exact_pad: true", "loses a recording's last samples; use false"),
        (
            normalization.normalize in ("per_feature", "all_features"),
            f"preprocessor.normalize: {normalization.normalize}",
            f"{statistics}; train with fixed_mean and fixed_std of estimate-normalization",
        ),
        (not encoder["conv_mask"], "encoder.conv_mask: false", "lets a recording's padding in; use true"),
        (
            encoder["normalization_mode"] != "batch",
            f"encoder.normalization_mode: {encoder['normalization_mode']}",
            f"{statistics}; use batch",
        ),
    ]
    for number, block in enumerate(model.encoder.blocks):
        whole = "averages over the whole recording; use false"
        reasons.append((block.excitation is not None, f"encoder.jasper[{number}].se: true", whole))
    for is_reason, key, why in reasons:
        if is_reason:
            raise UserError(f"this model cannot stream: {key} {why}")


def is_streamable(model: JasperCTC) -> bool:
    """Whether the model's results can be computed chunk by chunk (`StreamingModel`)."""
    try:
        require_streamable(model)
    except UserError:
        return False
    return True
