"""ATRC as the paper writes it: block by block, one module each. The truth that the fast form is held to."""

import torch

from atrc.contexts import spatial_softmax


def textbook(module, features, regions=None):
    densities = {task: spatial_softmax(logits) for task, logits in (regions or {}).items()}
    refined = {}
    for target, row in module.rows.items():
        own = features[target]
        contexts = [
            block(own, features[source], densities.get(target), densities.get(source))
            for source, block in row.blocks.items()
        ]
        refined[target] = row.join(torch.cat([own, row.fuse(torch.cat(contexts, 1))], 1) if contexts else own)
    return refined
