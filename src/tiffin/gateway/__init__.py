"""Envoy in front of replicas: specs to configuration (pure), and the process that runs it."""
