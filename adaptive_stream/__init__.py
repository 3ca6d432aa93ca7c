"""Keep served machine-learning models good while they serve: a worker on Kafka."""
