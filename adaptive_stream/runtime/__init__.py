"""The thin part around the core: polling, transactions, journal, restore, probes. No statistics."""
