"""Measurements of the whole worker, as ratios in one run, beside what others do on the same machine."""
