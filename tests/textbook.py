"""ATRC as the paper writes it: block by block, unfolded neighbourhoods, stored attention maps.

The truth that the fast form is held to, and what its time and memory are measured against.
"""

import math
from unittest.mock import patch

import torch
import torch.nn.functional as F

from atrc.contexts import ContextPooling, spatial_softmax


@patch.object(ContextPooling, "forward", lambda block, *features: pool(block, *features))
def textbook(module, features, regions=None):
    """Section 3: `module(features, regions)`."""
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


def pool(block, target, source, target_regions=None, source_regions=None):
    """Equation 1: `block(target, source, target_regions, source_regions)`."""
    if block.context == "global":
        return global_context(block.query(target), block.key(source), block.value(source))
    if block.context == "local":
        return local_context(block.query(target), block.key(source), block.value(source))
    regions = target_regions if block.context == "t_label" else source_regions
    means = torch.einsum("brhw,bchw->bcr", regions, source)[..., None]  # Eq. 5
    return label_context(block.query(target), block.key(means)[..., 0], block.value(means)[..., 0])


def global_context(query, key, value):
    """Equation 3, in the order that is linear in the pixels."""
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
    context = torch.einsum("bdc,bdn->bcn", torch.einsum("bdn,bcn->bdc", k, v), q)
    return (context / torch.einsum("bd,bdn->bn", k.sum(2), q).clamp(min=1e-12)[:, None]).view_as(value)


def local_context(query, key, value, window=9):
    """Equation 4: the neighbours of every pixel side by side."""
    b, d, h, w = query.shape
    around = [F.unfold(x, window, padding=window // 2) for x in (key, value, torch.ones_like(key[:, :1]))]
    keys, values, exists = (x.view(b, -1, window**2, h * w) for x in around)
    scores = torch.einsum("bdl,bdnl->bnl", query.flatten(2), keys) / math.sqrt(d)
    weights = scores.masked_fill(exists[:, 0] == 0, -math.inf).softmax(1)
    return torch.einsum("bnl,bcnl->bcl", weights, values).view(b, -1, h, w)


def label_context(query, key, value):
    """Equation 2, over regions in the place of pixels."""
    scores = torch.einsum("bdhw,bdr->brhw", query, key) / math.sqrt(query.shape[1])
    return torch.einsum("brhw,bcr->bchw", scores.softmax(1), value)
