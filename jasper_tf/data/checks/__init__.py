"""What is wrong in a corpus: its lines, its texts, its sound files."""
