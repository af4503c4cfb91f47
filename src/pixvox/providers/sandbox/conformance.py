"""What the conformance kit is told of the sandbox: it is free, and it fails and dawdles on demand."""

from __future__ import annotations

from pixvox.testing.conformance.hints import Hints, Rehearsal

_VERBS = ("generate_image", "edit_image", "stream_speech")
_REASONS = {
    "unavailable": "PROVIDER_UNAVAILABLE",
    "rate_limited": "RATE_LIMITED",
    "internal": "PROVIDER_INTERNAL",
    "disconnect": "PROVIDER_DISCONNECTED",
}
_AFTER_AUDIO = ("internal", "disconnect")
_SLOW_SECONDS = 600.0


def conformance() -> Hints:
    """Return the hints; see `pixvox.testing.conformance`."""
    failures = [
        Rehearsal(verb, reason, {"fault": {"kind": kind}}) for verb in _VERBS for kind, reason in _REASONS.items()
    ]
    failures += [
        Rehearsal("stream_speech", _REASONS[kind], {"fault": {"kind": kind, "after_chunks": 2}})
        for kind in _AFTER_AUDIO
    ]
    slow = [Rehearsal(verb, options={"fault": {"delay_seconds": _SLOW_SECONDS}}) for verb in _VERBS]
    return Hints(free=True, failures=tuple(failures), slow=tuple(slow))
