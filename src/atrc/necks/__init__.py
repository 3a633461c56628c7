"""Necks: feature levels in, what the heads read out."""

from atrc.necks.concat import ConcatNeck

__all__ = ["ConcatNeck"]
