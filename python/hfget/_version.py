"""The version of this package. It is always the version of the command that it drives."""

__version__ = "0.1.0"
