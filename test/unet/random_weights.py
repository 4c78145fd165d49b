"""Random weights for small networks."""

import torch


def randomise(model, generator):
    """No parameter stays at 0 or 1; all are exact in float16, in which they are stored."""

    def draw(shape, scale, mean=0.0):
        return (mean + scale * torch.randn(shape, generator=generator)).half().float()

    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            norm = "norm" in name.split(".")[-2]
            if "class_embedding.weight" in name or "time_proj" in name:
                p.copy_(draw(p.shape, 0.6))
            elif name.endswith("bias"):
                p.copy_(draw(p.shape, 0.2 if norm else 0.1))
            elif norm:
                p.copy_(draw(p.shape, 0.2, 1.0))
            else:
                p.copy_(draw(p.shape, 0.9 / (p[0].numel() ** 0.5)))
