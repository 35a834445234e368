"""When things happen: the cycle model, and the paper count before it."""
