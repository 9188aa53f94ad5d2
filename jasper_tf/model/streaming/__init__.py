"""A model on a live stream: chunk after chunk, with the results of the whole recording."""
