"""Verilator builds, test bench parts, benches, reports and the command line."""
