"""The Jasper family: encoder blocks, CTC head, and the model from audio to logits."""
