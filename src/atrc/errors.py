"""The one error that users see without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something the user gave cannot be used; the message names it and the cure.

    The command line prints it on one line and exits with 2.
    """


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Import optional packages: of one that is not installed, name the extra that brings it.

        with needs_extra("export", "an ONNX export"):
            import onnx

    Args:
        extra: The name in the brackets of `pip install 'atrc[...]'`.
        purpose: What the packages are needed for, as the subject of a sentence.

    Raises:
        UserError: An import inside failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        reason = f"{error.name}, which is not installed"
        raise UserError(f"{purpose} needs {reason}; pip install 'atrc[{extra}]'") from None
    except ImportError as error:  # there, but not whole
        reason = str(error).partition("\n")[0]
        raise UserError(f"{purpose} needs more than is installed ({reason}); pip install 'atrc[{extra}]'") from None
