"""What goes wrong with tasks, data and settings, told to people."""


class LearningError(Exception):
    """Learning cannot begin: one clear line that names the thing and the remedy."""
