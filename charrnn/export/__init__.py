"""Models for other programs: one file that holds a network, and the JavaScript that runs it."""
