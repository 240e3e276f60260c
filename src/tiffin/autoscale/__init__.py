"""How many replicas there should be: samples and settings in, a number and its reason out. Pure.

``samples``: from a gateway's counters to calls at once and calls a second. ``buckets``: averages over windows.
``knative``: the rules for calls at once and calls a second. ``hpa``: the rules for processor and memory.
``decision``: both, with the bounds and with zero. ``placement``: what fits on a machine. ``holding``: who waits
for a first replica. Next door: ``local`` and ``operator``, which measure, ask here once a second, and change the
number of replicas.
"""
