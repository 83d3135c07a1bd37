"""The corpus as an array of steps on disk, and batches of it."""
