"""What the services see of the configuration that is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pixvox.routing import Router
    from pixvox.settings import Settings


class Current(Protocol):
    """The configuration that is in force now; a reload replaces all of it at once.

    A call reads `router` once, at its beginning, and keeps it: what it has begun it finishes with what was in force then.
    """

    @property
    def settings(self) -> Settings:
        """The settings."""
        ...

    @property
    def digest(self) -> str:
        """Identifies the settings: 16 hexadecimal digits, the same on instances that are configured alike."""
        ...

    @property
    def router(self) -> Router:
        """Knows the providers of these settings."""
        ...
