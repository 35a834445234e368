"""Bus models that are not ours (cocotbext-axi) against the AMBA ports of generated Verilog."""
