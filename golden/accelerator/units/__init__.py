"""What the units compute, on the state of a machine."""
