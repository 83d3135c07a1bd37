"""The recurrent network: reads a step, predicts the distribution over the next one."""
