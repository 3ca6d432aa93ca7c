"""The configuration: a frozen tree, and how it is loaded."""

from adaptive_stream.config.family import Family, Feature
from adaptive_stream.config.load import ConfigError, Mistake, load, show
from adaptive_stream.config.tree import Config

__all__ = ["Config", "ConfigError", "Family", "Feature", "Mistake", "load", "show"]
