"""Numbers over rows: paged tables and intervals."""
