"""The product as a function: fleets of models that step batches. No Kafka, no clock, no thread, no log."""
