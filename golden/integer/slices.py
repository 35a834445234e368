"""A batch spread over a CPU's threads in slices: each thread computes alone, in its own caches.

Images do not depend on each other, so a thread that takes some of them through the whole network
waits for the others once a step and not once an operation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from golden.threads import spread

__all__ = ["over_images"]


def over_images(work: Callable[[slice], Tensor], images: int, most: int) -> Tensor:
    """``work`` of slices of at most ``most`` images, concatenated: (images, ...).

    The slices are as equal as can be and spread over ``torch.get_num_threads()`` threads.
    """
    threads = max(1, min(torch.get_num_threads(), images))
    count = -(-images // (most * threads)) * threads if images else 1
    count = max(1, min(count, images))
    parts = [slice(images * i // count, images * (i + 1) // count) for i in range(count)]
    if threads == 1:  # all of torch's threads for one image
        return torch.cat([work(part) for part in parts])
    return torch.cat(list(spread(work, parts)))
