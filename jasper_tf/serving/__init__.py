"""TensorFlow Serving's client."""
