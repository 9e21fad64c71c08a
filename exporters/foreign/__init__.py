"""ONNX files that others exported, brought into step graphs.

::

    model      the file opened, its inputs and outputs as declared, and how it is run
    flow       who feeds whom, through If, Loop and Scan too
    pairs      which output is the next value of which input
    surgery    recurrent operators whose state is not exposed get a state pair
    roles      which axis is time, batch, feature: found by running
    probe      what a state does to the others: tells h and c apart
    wrap       every tensor gets its batch axis
    blame      the first node whose result depends on how time is cut
    loop       the file in a plain loop: what the step graph must equal
    importer   all of it in order, then the gates
"""
