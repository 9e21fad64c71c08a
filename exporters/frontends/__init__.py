"""Front ends for sound as parts of a graph: put before an ONNX model's input, or around a module."""
