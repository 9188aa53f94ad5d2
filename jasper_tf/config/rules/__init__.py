"""Rules between the values of a configuration: values that follow from others, and values that do not fit."""

from jasper_tf.config.rules.complete import complete, inherit

__all__ = ["complete", "inherit"]
