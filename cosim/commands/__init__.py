"""One module a command of ``stepscale``; ``cosim.cli`` registers the function of the same name."""
