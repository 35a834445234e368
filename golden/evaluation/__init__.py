"""How good an integer network is: features, Fréchet distance, ablation."""
