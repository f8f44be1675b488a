"""sipbridge: a telephone number for a voice model."""

__version__ = "0.1.0"
