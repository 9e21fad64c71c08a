"""A bundle in another precision: int8 that keeps streams apart, fp16 weights for size.

::

    calibrate   the largest activations, and accuracy, on sequences given or drawn
    quantise    weights to s8 per channel, the integer product and its scales
    recurrent   LSTM and GRU taken apart around integer products, a Scan over time
    dense       MatMul and Gemm likewise
    half        weights kept as fp16, computed in fp32
    accuracy    what the new graph does to the answers
    convert     all of it in order, then the gates
"""
