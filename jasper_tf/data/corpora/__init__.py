"""The corpora that `prepare` knows: each reads its own layout into `CorpusEntry`s."""
