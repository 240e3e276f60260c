"""The controller's HTTP API: requests in, calls of a ``Platform``, JSON out. Decides nothing itself."""
