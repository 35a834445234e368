"""The float diffusion UNet: model, checkpoints, samplers, training."""
