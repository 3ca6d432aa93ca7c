"""A real Apache Kafka without Docker, for the demo and the tests."""

from adaptive_stream.embedded.broker import EmbeddedKafka
from adaptive_stream.embedded.jars import EmbeddedKafkaError

__all__ = ["EmbeddedKafka", "EmbeddedKafkaError"]
