"""What is measured of a model, and when it becomes an alert."""
