"""The integer UNet: from integer noise to integer image."""
