"""Pictures: spectrograms, alignments, histograms."""
