"""The process that holds connections to what has no replica: ``python -m tiffin.operator.activator``.

It sits behind a Service as an endpoint of second rank (an EndpointSlice that is there only while no pod is ready)
and works on connections, not on calls: it accepts, reads a first few bytes and no more, asks for a replica, and
once one is ready connects to it and passes bytes both ways. Bodies stay with their callers.

``targets`` (Services and EndpointSlices -> who is behind which port; pure) | ``frames`` (as much HTTP/2 as it
takes; pure) | ``answers`` (what a caller gets that waited in vain; pure) | ``splice`` (one connection) |
``leaving`` (callers that left) | ``asking`` (for replicas) | ``holder`` (listens, holds, connects) | ``pages``
(metrics and health) | ``following`` (the cluster).
"""
