"""The one error that users see without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 1200  # of a message [characters]
LONGEST_REASON = 200  # of another package's error that a message quotes [characters]


class UserError(ValueError):
    r"""Something the user gave cannot be used; the message names it and the cure.

    The command line prints it on one line and exits with 2. Whatever a file holds that it quotes, it is one line of
    printable characters: no control sequence reaches a terminal.

    >>> str(UserError("a\nb\x1b[2J"))
    'a\\nb\\x1b[2J'
    """

    def __init__(self, message: str) -> None:
        """Take the message; of a long one the middle is left out."""
        shown = message
        if not shown.isprintable():
            shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
        if len(shown) > LONGEST:
            shown = f"{shown[: LONGEST // 2]} ... {shown[5 - LONGEST // 2 :]}"
        super().__init__(shown)


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message to quote in another one; the error's type if it has no message.

    >>> first_line(RuntimeError("out of memory\nTraceback ..")), first_line(MemoryError())
    ('out of memory', 'MemoryError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:LONGEST_REASON]


def require_format(found: object, newest: int, where: str) -> None:
    """Refuse a file whose format is newer than what is read here, or is none.

    >>> require_format(7, 3, "a.ckpt")
    Traceback (most recent call last):
    atrc.errors.UserError: a.ckpt: made by a newer atrc (format 7, this reads up to 3): update atrc

    Raises:
        UserError: It names the file and both formats.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f"{where}: format {found!r:.40} is none; this reads 1 to {newest}: save it again")
    if found > newest:
        raise UserError(f"{where}: made by a newer atrc (format {found}, this reads up to {newest}): update atrc")


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
        raise UserError(
            f"{purpose} needs more than is installed ({first_line(error)}); pip install 'atrc[{extra}]'"
        ) from None


@contextmanager
def lost_loaders(cure: str) -> Iterator[None]:
    """Turn the end of a loader process, for which PyTorch raises wherever this one happens to be, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(f"a loader process was lost ({str(error).strip(' .')}); memory may be short: {cure}") from error
