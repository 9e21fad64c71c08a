"""The daemon for other orchestrators, and what watches it."""
