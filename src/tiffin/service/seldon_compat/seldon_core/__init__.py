"""What user code imports from seldon_core, for environments without it."""
