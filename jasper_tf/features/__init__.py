"""From samples to normalized log-mel features, as Keras layers."""
