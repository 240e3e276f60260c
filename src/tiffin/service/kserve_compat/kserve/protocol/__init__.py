"""``kserve.protocol``."""
