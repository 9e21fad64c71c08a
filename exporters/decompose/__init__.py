"""A step graph for a fixed number of steps, of products and elementwise operators only: what TensorRT fuses.

::

    activations   the activation functions of ONNX's recurrent operators, as operators of their own
    recurrent     LSTM, GRU and RNN: the input's products for the whole chunk in one GEMM, gates as slices
    unroll        Scan written out, step after step
    chunk         a bundle's graph for one chunk: time fixed, batch dynamic, no loop left
    proof         the graphs of all chunks held to the gates, on the CPU
"""
