"""TensorRT engines ahead of time, for a GPU that need not be here; ``tensorrt`` and TensorRT for RTX alike.

::

    build        a decomposed step graph to an engine
    inspection   what the builder made of it: layers, fusions, tensors, and that no loop is left
    ahead        a bundle's engines for all chunks, from the cache or built
"""
