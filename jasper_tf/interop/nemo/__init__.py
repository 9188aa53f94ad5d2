"""NVIDIA NeMo's archives, configurations and weights, without PyTorch."""
