"""``kserve.constants``."""
