"""Training: choosing settings (plan), measuring speed (probe), and a loop that yields events."""
