"""The version, where it can be read without an installed distribution."""

__version__ = "0.1.0"
