"""Weight initialization: the `init_mode` of encoder and decoder."""

import keras

from jasper_tf.errors import UserError

# (scale, fan, distribution) of keras's VarianceScaling; torch's normal is the untruncated one.
_MODES: dict[str | None, tuple[float, str, str]] = {
    "xavier_uniform": (1.0, "fan_avg", "uniform"),
    "xavier_normal": (1.0, "fan_avg", "untruncated_normal"),
    "kaiming_uniform": (2.0, "fan_in", "uniform"),
    "kaiming_normal": (2.0, "fan_in", "untruncated_normal"),
    "tds_uniform": (4.0 / 3.0, "fan_in", "uniform"),
    "tds_normal": (4.0, "fan_in", "untruncated_normal"),
    None: (1.0 / 3.0, "fan_in", "uniform"),
}


def weight_initializer(init_mode: str | None, seed: int) -> keras.Initializer:
    """Returns the initializer of a convolution or linear weight laid out (..., in, out).

    Args:
        init_mode: `xavier_uniform`, `xavier_normal`, `kaiming_uniform`, `kaiming_normal`, `tds_uniform`,
            `tds_normal`, or None for U(+-1/sqrt(fan_in)). NeMo: `init_weights`.
        seed: of the random numbers.

    Raises:
        UserError: unknown `init_mode`.
    """
    if init_mode not in _MODES:
        known = ", ".join(str(mode) for mode in _MODES)
        raise UserError(f"init_mode: '{init_mode}' is unknown; use one of {known}")
    scale, fan, distribution = _MODES[init_mode]
    return keras.initializers.VarianceScaling(scale, fan, distribution, seed=seed)
