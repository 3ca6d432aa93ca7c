"""What is on the topics: events, errors, envelopes, and the schemas made from them."""
