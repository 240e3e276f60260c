"""Bundles: source, entry point and requirements of a service or class, content-addressed in a local store."""
