"""From log-probabilities to text, words and times."""
