"""Temporary."""

import numpy as np
import torch

from golden.integer.network import IntegerNetwork


class QuantizedUNet:
    def __init__(self, artifact):
        self.n = IntegerNetwork(artifact)
        self.artifact = artifact

    def __call__(self, x, steps, bias_hook=None):
        return self.n.eps(
            torch.from_numpy(np.asarray(x, dtype=np.int16)), int(np.max(steps))
        ).numpy()
