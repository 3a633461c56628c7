"""Task heads: main (features), auxiliary (label regions), final (predictions)."""

from atrc.heads.convolutional import auxiliary_head, final_layer, main_head

__all__ = ["auxiliary_head", "final_layer", "main_head"]
