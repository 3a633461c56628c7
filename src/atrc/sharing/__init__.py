"""Networks as files: folders to share, the Hugging Face Hub, and exports to other runtimes."""

from atrc.sharing.architecture import Architecture
from atrc.sharing.hub import load, push, save

__all__ = ["Architecture", "load", "push", "save"]
