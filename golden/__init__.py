"""Bit-exact integer reference of the hardware, the UNet made of it, and its calibration."""
