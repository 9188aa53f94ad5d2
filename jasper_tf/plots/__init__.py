"""Plots: spectrograms, alignments, histograms."""
