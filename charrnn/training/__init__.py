"""Training: what to do (plan), how fast (probe, schedule), and doing it (loop), told in events."""
