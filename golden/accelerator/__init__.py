"""The accelerator: instructions, memory plan, compiler, executor and cycle budget."""
