"""The corpora that `prepare` knows: each module reads one layout into `CorpusEntry` objects."""
