"""One kind of module a file: each emits the ONNX operators that compute what the module computes."""
