"""Bytes to values and back, one media type per module, for the methods of services."""
