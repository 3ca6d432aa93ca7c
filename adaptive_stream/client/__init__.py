"""For apps: publish predictions and feedback, follow what the worker says. Needs neither numpy nor the core."""

from adaptive_stream.client.publisher import Publisher
from adaptive_stream.client.subscriber import Subscriber

__all__ = ["Publisher", "Subscriber"]
