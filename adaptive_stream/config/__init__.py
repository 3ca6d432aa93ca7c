"""The configuration: a frozen tree, and how it is loaded."""

from adaptive_stream.config.family import Family, Feature
from adaptive_stream.config.load import ConfigError, load, show
from adaptive_stream.config.source import Mistake
from adaptive_stream.config.tree import Config

__all__ = ["Config", "ConfigError", "Family", "Feature", "Mistake", "load", "show"]
