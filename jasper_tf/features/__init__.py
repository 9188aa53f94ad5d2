"""From samples to normalised log-mel features, as Keras layers."""
