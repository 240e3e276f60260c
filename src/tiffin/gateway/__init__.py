"""The gateway: from deployments and the addresses of their replicas to a running Envoy.

``routes``, ``choices``, ``filters`` and ``clusters`` (pure) turn a snapshot into Envoy ``resources``,
``bootstrap`` (pure) is what Envoy is started with, ``files`` puts resources where Envoy sees them, ``admin`` asks
it, ``envoy`` runs the process. ``router`` is the small interface that targets use, and ``checks`` what they ask
before they desire anything. Nothing here knows who started a replica; specs and addresses are all there is.
"""
