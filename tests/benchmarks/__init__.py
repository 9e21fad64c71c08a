"""Benchmarks: ours beside the loops that a user would otherwise write, in one run; ratios, not absolute times."""
