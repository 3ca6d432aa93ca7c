"""For tests of configurations and of the project: the core without a broker."""

from adaptive_stream.testing.driver import Driver, topic_of

__all__ = ["Driver", "topic_of"]
