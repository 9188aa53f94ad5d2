"""Manifests: their lines, columns and filters."""
