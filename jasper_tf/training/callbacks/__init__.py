"""What a training run does beside its steps."""
