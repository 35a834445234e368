"""One thread for torch: two workers share two cores, and spinning threads cost more than that."""

import torch

torch.set_num_threads(1)
