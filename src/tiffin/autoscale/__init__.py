"""How many replicas there should be: samples and settings in, a number and its reason out. Pure."""
