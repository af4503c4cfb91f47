"""What routing knows of a call and of each target that could serve it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.errors import PixvoxError
    from pixvox.registry import Entry
    from pixvox.routing.routes import RouteTarget
    from pixvox.settings import Verb
    from pixvox.v1 import model_service_pb2
    from pixvox.v1.model_service_pb2 import RouteCheck


class TargetKey(NamedTuple):
    """A provider by its configured name, and the id of one of its models."""

    provider: str
    model: str

    def __str__(self) -> str:
        """Return PROVIDER/MODEL, as the settings write it."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What conditions and draws look at.

    Attributes:
        verb: Of the call.
        caller: Its name, or its network address.
        labels: The request's own.
        pixels: Width times height that is asked for, 0 if none is.
        voice: Id of the voice that is asked for, empty if none is.
        language: BCP-47 tag that is asked for, empty if none is.
    """

    verb: Verb
    caller: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pixels: int = 0
    voice: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of one candidate.

    Attributes:
        check: That was made.
        message: A sentence for a person.
        error: That a call gets if this keeps every candidate from being tried; None if the check was passed.
    """

    check: RouteCheck.ValueType
    message: str
    error: PixvoxError | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may be tried for all that this check knows."""
        return self.error is None


@dataclass(slots=True)
class Candidate:
    """A target that is considered for a call.

    Attributes:
        entry: The provider.
        model: One of its models.
        target: Of the route that it comes from, None without a route.
        findings: In the order of the checks.
    """

    entry: Entry
    model: model_service_pb2.Model
    target: RouteTarget | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def key(self) -> TargetKey:
        """Its name."""
        return TargetKey(self.entry.name, self.model.id)

    @property
    def error(self) -> PixvoxError | None:
        """Why it may not be tried, by the first check that it failed; None if it may."""
        return next((finding.error for finding in self.findings if finding.error is not None), None)
