"""TensorRT at run time without a GPU: its objects are played by ONNX Runtime, device memory by NumPy's."""
