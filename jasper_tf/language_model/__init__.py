"""N-gram language models: ARPA files, counts to ARPA, the tables that decoding reads."""
