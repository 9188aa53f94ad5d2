"""A client of TensorFlow Serving's PredictionService, over gRPC and REST."""
