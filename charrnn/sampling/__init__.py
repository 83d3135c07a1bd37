"""Generating sequences: the network in NumPy, filters on its distribution, and drawing from it."""
