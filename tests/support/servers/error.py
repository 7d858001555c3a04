"""Why there is no server."""


class SourceFailedError(RuntimeError):
    """One way of getting a server does not work here; another may."""


class UnusableServerError(SourceFailedError):
    """A server answers, and lacks what is needed: to wait for it is in vain."""


class ServerUnavailableError(RuntimeError):
    """No server of a product can be had on this machine."""
