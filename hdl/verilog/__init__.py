"""From Amaranth's RTLIL to Verilog that people can read: parse, share, simplify, name, print."""
