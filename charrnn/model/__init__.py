"""The recurrent network: reads a step and predicts the distribution over the next one."""
