"""The local target: fetches, starts and stops replicas and the gateway on this machine."""
