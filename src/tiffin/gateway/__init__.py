"""The gateway: from deployments and the addresses of their replicas to a running Envoy.

``routes`` (pure) turns a snapshot into Envoy resources, ``bootstrap`` (pure) is what Envoy is started with,
``files`` puts resources where Envoy sees them, ``envoy`` runs the process. ``router`` is the small interface
that the targets use. Nothing here knows who started a replica; specs and addresses are all there is.
"""
