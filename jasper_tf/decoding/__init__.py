"""From logits to text, and from texts to error rates."""
