"""Formal proofs of the RTL blocks: for arbitrary inputs and stalls, by a solver."""
