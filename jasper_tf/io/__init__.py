"""Files: atomic writes, memory files, progress of long work."""
