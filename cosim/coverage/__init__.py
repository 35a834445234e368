"""What the benches exercise: functional bins of the golden cases, and Verilator's counters."""
