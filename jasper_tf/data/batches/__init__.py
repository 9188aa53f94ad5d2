"""Utterances to padded batches: buckets, plans, the tf.data pipeline."""
