"""The one error that users see without a traceback."""


class UserError(ValueError):
    """Something the user gave cannot be used; the message names it and the cure.

    The command line prints it on one line and exits with 2.
    """
