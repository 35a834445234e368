"""From a trained float UNet to an artifact of integers."""
