"""What all parts agree on: the bundle, its manifest, the step graph, the gates, and the errors.

The contract imports neither torch nor onnx nor any other part of this distribution, so that a
device which only runs a bundle loads only what it needs.
"""
