"""Why there is no server."""


class SourceFailedError(RuntimeError):
    """One way of getting a server does not work here; another may."""


class ServerUnavailableError(RuntimeError):
    """No server of a product can be had on this machine."""
