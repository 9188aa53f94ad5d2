"""Training runs: the loop, its data, fine-tuning."""
