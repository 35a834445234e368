"""The whole accelerator in simulation: registers, external memory, every word that it writes."""
