"""One conformance suite over all transports, and what is particular to each."""
