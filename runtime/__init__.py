"""Runs bundles: one hidden state per stream while records come and go. Never imports torch or onnx."""
