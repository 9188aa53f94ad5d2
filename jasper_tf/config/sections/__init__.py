"""The sections of a configuration file as dataclasses."""
