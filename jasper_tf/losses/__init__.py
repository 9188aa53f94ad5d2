"""The CTC loss."""
