"""Reading recordings: manifests, audio files, batches."""
