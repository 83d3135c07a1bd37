"""Sampling: the network in NumPy, filters on its distribution, random sampling and beam search."""
