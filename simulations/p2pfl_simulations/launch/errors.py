"""Why a launch cannot go on."""


class LaunchError(Exception):
    """A process ended by itself, or the scenario cannot be launched; the message is for people."""
