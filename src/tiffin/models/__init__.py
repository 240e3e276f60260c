"""Saved models: where they are, what they are, whether they are safe to open, and how they predict."""
