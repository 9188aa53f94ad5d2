"""What the values of a configuration say about each other: what follows from others, and what does not fit."""

from jasper_tf.config.rules.complete import complete, inherit

__all__ = ["complete", "inherit"]
