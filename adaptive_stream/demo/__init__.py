"""A year of flights: two processes on a real Kafka, and one that watches."""
