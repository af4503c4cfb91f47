"""What is raised when the service cannot run as it is told to."""

from __future__ import annotations


class SettingsError(Exception):
    """The settings cannot be used; the text names the source and the value for the operator."""
