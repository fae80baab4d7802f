"""The one exception that reaches the user as a single line."""


class UserError(Exception):
    """A mistake that the user can mend: the message is one line that says what is wrong and what to do.

    `main.py` prints it without a traceback and exits with status 2.
    """


class PeerLost(UserError):
    """Another process of the same job is gone, so that this one cannot end in an orderly way."""
