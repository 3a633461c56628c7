"""Where a network runs, and what it costs: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.errors import UserError, first_line


def find_device(device: str) -> torch.device:
    """Return a device of this machine by its name; "auto" is a GPU if there is one, else the CPU.

    Raises:
        UserError: This machine does not have it.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: not available here ({first_line(error)}); choose auto or cpu") from None


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiply-adds of one image: convolutions, matrix products and attention, nothing else.

    Args:
        network: Called with an image (1 3 h w).
        size: Height and width [px].
    """
    training = network.training
    network.eval()
    image = torch.zeros(1, 3, *size, device=next(network.parameters()).device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)
    network.train(training)
    return counter.get_total_flops() // 2
