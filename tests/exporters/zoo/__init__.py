"""Modules of every kind as users write them, each exported or refused: ``python -m tests.exporters.zoo`` shows which."""
