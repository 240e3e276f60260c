"""``kserve.utils``."""
