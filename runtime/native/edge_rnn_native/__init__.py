"""The native part of edge-rnn's transport over confluent-kafka, a shared library for ``ctypes``; it has no other use."""

from pathlib import Path

LIBRARY = next(Path(__file__).parent.glob("columns*.so"))
"""The shared library."""
