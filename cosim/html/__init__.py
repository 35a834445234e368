"""One HTML page of what regression, coverage, mutation, proofs and timing found."""
