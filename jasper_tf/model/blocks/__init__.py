"""The Jasper block and its layers: convolution, normalization, squeeze-and-excitation."""
