"""A module's forward, watched while it runs on a sample, as a graph of what one step computes.

The rooms, in the order in which a forward passes them:

=============  =====================================================================================
`tracer`       runs the module and sees each operation that torch dispatches
`rules`        one file a kind of operation: what it does to rows, and to the axes around them
`values`       a tensor as the trace knows it: rows, and which of its axes are time and batch
`nodes`        the graph of rows: what one step of one stream computes
`fold`         the steps of a loop, found to be one step repeated
=============  =====================================================================================
"""
