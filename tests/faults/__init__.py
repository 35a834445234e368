"""Single faults planted in copies of the RTL: each must make the bench of its block red."""
