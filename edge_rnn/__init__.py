"""edge-rnn: train a recurrent network, export it as a stateful step graph, stream with it.

This package imports nothing on purpose: ``edge_rnn.contract`` is the shared contract and
``edge_rnn.cli`` the command; each loads only what it needs.
"""
