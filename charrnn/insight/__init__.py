"""What a model has learnt: its losses, units, memory and copies."""
