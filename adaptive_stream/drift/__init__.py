"""What changed: references, evidence and verdicts on inputs, outputs and losses."""
