"""What a designer takes home: Verilog with all that an integration needs, in one folder."""
