"""Lets the processes of a run open as many files as this machine allows; a thousand streams need two thousand."""

import resource


def allow_files() -> None:
    """Raise the soft limit to the hard one, for this process and all that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
