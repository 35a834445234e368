"""The proofs of each block; a file is called like its block."""
