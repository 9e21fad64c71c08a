"""Durable states: what a snapshot looks like, what is written at a commit, how a partition comes back."""
