"""Level 3: a native main replays the golden trace and compares it, at the simulator's speed."""
