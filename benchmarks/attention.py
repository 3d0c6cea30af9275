"""Forward and backward pass of the attention of one image layer of CLIP ViT-B/32: torch's fused kernel against plain products.

    python benchmarks/attention.py

32 images, 54 positions, 12 heads of width 64, gradients of query, key and value. Training in bf16 on a CPU takes the second way
(`training/attention.py`). The gradients of both are compared with those of float32.
"""

from __future__ import annotations

import torch
from harness import BATCH, alternate, print_table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HEADS, POSITIONS, WIDTH, ROUNDS = 12, 54, 64, 8


def gradients(parts: list[Tensor], backend: SDPBackend) -> Tensor:
    """Return the gradients of all three parts, flat."""
    parts = [part.detach().requires_grad_() for part in parts]
    with sdpa_kernel(backend):
        read = scaled_dot_product_attention(*parts)
        read.backward(torch.ones_like(read) * torch.arange(WIDTH).cos().to(read.dtype))
    return torch.cat([part.grad.float().flatten() for part in parts])


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(BATCH, HEADS, POSITIONS, WIDTH, generator=generator) for _ in range(3)]
    exact = gradients(parts, SDPBackend.MATH)
    for dtype in (torch.float32, torch.bfloat16):
        own, name = [part.to(dtype) for part in parts], str(dtype).removeprefix("torch.")
        ways = {
            "fused": lambda _, own=own: gradients(own, SDPBackend.FLASH_ATTENTION),
            "plain products": lambda _, own=own: gradients(own, SDPBackend.MATH),
        }
        timings = alternate(ways, ROUNDS)
        print_table(name, timings, BATCH * ROUNDS, "images")
        cosines = {way: float(torch.cosine_similarity(timing.result, exact, dim=0)) for way, timing in timings.items()}
        print(f"{name}  cosine with the gradients of float32: {cosines}")


if __name__ == "__main__":
    main()
