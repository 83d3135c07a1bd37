"""From a distribution over the next step to a sequence: filters, draws, and the loop of both."""
