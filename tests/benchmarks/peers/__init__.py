"""What a user would otherwise write, each a process of its own: ``python -m tests.benchmarks.peers PEER ...``.

This package needs numpy, onnxruntime and one Kafka client, nothing of ours: Quix Streams runs it in an
environment of its own.
"""
