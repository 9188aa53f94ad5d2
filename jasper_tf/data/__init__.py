"""Recordings and their texts: manifests, storage, augmentation, batches."""
