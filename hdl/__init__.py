"""Amaranth RTL: one block, one file. The generated Verilog comes from here."""
