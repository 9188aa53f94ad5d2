"""ONNX files, written from the weights node by node."""
