"""Routes for tests, read from texts and compiled against real providers."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox import registry
from pixvox.routing.candidates import CallFacts
from pixvox.routing.routes import compiled
from pixvox.settings import load
from pixvox.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.routing.routes import Route, RouteTarget
    from pixvox.settings import Settings

QWEN = 'kind = "dashscope"\n'
PROVIDERS = f"""
[providers.qwen]
{QWEN}
[providers.sandbox]
kind = "sandbox"
[providers.second]
kind = "sandbox"
"""
WITHOUT_QWEN = PROVIDERS.replace(QWEN, f"{QWEN}enabled = false\n")

SPLIT = """
[routes.r]
verbs = ["stream_speech"]
targets = [
    { to = "qwen", weight = 1 },
    { to = "sandbox", weight = 2 },
    { to = "second", weight = 1 },
]
"""


def read(text: str, providers: str = PROVIDERS, **environment: str) -> tuple[Settings, tuple[registry.Entry, ...]]:
    """Read settings as from a file, and build their providers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixvox.toml"
        file.write_text(providers + textwrap.dedent(text))
        settings = load(file, environment=environment)
    return settings, registry.build(settings.providers, Upstream())


def route(text: str, providers: str = PROVIDERS) -> Route:
    """Compile the one route of a text."""
    (only,) = compiled(*read(text, providers)).values()
    return only


def configured(target: RouteTarget) -> float:
    """Return the weight of a target that nobody has rolled back."""
    return target.weight or 0.0


def tried(
    chosen: Route,
    facts: CallFacts,
    weight_of: Callable[[RouteTarget], float] = configured,
    draw: Callable[[], float] = lambda: 0.0,
) -> list[str]:
    """Return the names of the targets that a call would try, in order."""
    return [str(one.key) for one in chosen.candidates(facts, weight_of, draw) if one.error is None]


def speech(**facts: object) -> CallFacts:
    """Return what is known of a call for speech."""
    return CallFacts("stream_speech", **facts)  # type: ignore[arg-type]  # whatever the test says


def picture(**facts: object) -> CallFacts:
    """Return what is known of a call for a picture."""
    return CallFacts("generate_image", **facts)  # type: ignore[arg-type]  # whatever the test says
