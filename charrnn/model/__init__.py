"""The sequence model: one step in, the distribution over the next step out."""
