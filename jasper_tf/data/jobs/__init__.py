"""Jobs of many parts: on the processes of this machine, or on an engine that somebody runs (Beam, Spark)."""
