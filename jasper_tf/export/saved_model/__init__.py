"""The SavedModel for TensorFlow Serving and its signatures."""
