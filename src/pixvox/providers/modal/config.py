"""What the settings can say of a deployment on Modal, checked as a whole before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from pixvox.providers.modal.models import BUILT_IN, Served, table
from pixvox.providers.modal.speech import MAX_RECORDING_BYTES, RecordedVoice

# A function's request is redirected after 150 seconds at the latest.
FUNCTION_READ_SECONDS = 160.0

_JOB_URLS = ("job_submit", "job_status", "job_result")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One deployment of our worker.

    Attributes:
        url: Its address, perhaps with a path. Empty means that the provider is there and every call to it fails.
        kind_of_endpoint: ``function`` for a web function, which queues requests and redirects those that take long;
            ``server`` for a Server, which refuses requests while no container is up.
        key: Of a proxy token, such as ``wk-...``. Empty means that the deployment is public.
        secret: Of the same token, such as ``ws-...``.
        worker_key: The worker's own API key, sent as a bearer token. Empty if it has none.
        models: That the deployment serves, by their ids there. Empty means both that are built in.
        read_seconds: How long the edge may send nothing. 0 means 160 for a function, and the caller's deadline for a server.
        cold_start_seconds: How long a start may take before a call fails.
        idle_seconds: After which an unused deployment is taken to sleep: its ``scaledown_window``.
        poll_seconds: Between two questions whether a server is up.
        job_submit: Address of the earlier speech app where jobs are submitted. Empty means that there is no such app.
        job_status: Of the same app, where jobs are asked after.
        job_result: Of the same app, where results are fetched.
        job_cancel: Of the same app, where jobs are cancelled. Empty means that it cannot.
        job_clone: Of the same app, where a text is spoken by one call. Empty means that every text is a job.
        job_clone_characters: The longest text that is spoken by one call; a web function redirects what takes long.
        design_url: Of another deployment, whose model invents voices for those models here that clone; with the same keys.
        design_model: Its name there.
        voice_design: Where voices are designed: the earlier app's own endpoint.
        job_poll_seconds: Before a job is asked after for the first time; later waits grow to twice as long.
        voices: That the app speaks with, by their names.
    """

    url: str = ""
    kind_of_endpoint: Literal["function", "server"] = "function"
    key: str = ""
    secret: str = ""
    worker_key: str = ""
    models: dict[str, Served] = {}
    read_seconds: float = 0.0
    cold_start_seconds: float = 600.0
    idle_seconds: float = 300.0
    poll_seconds: float = 2.0
    job_submit: str = ""
    job_status: str = ""
    job_result: str = ""
    job_cancel: str = ""
    job_clone: str = ""
    job_clone_characters: int = 200
    design_url: str = ""
    design_model: str = "Qwen3-TTS-12Hz-1.7B-VoiceDesign"
    voice_design: str = ""
    job_poll_seconds: float = 5.0
    voices: dict[str, RecordedVoice] = {}

    def __post_init__(self) -> None:
        """Check what the types do not say.

        Raises:
            ValueError: A value cannot be used; the text names it.
        """
        for name in ("url", *_JOB_URLS, "job_cancel", "job_clone", "design_url", "voice_design"):
            _check_url(name, getattr(self, name))
        self._check_jobs()
        self._check_designs()
        for name in ("key", "secret", "worker_key"):
            _check_header(name, getattr(self, name))
        if bool(self.key) != bool(self.secret):
            message = "key: a proxy token has a key and a secret; give both or neither"
            raise ValueError(message)
        if self.read_seconds < 0:
            message = f"read_seconds: {self.read_seconds:g} is less than 0"
            raise ValueError(message)
        for name in ("cold_start_seconds", "idle_seconds", "poll_seconds", "job_poll_seconds"):
            if getattr(self, name) <= 0:
                message = f"{name}: {getattr(self, name):g} is not more than 0"
                raise ValueError(message)
        table(self.models or BUILT_IN)

    def __repr__(self) -> str:
        """Return everything but the secrets."""
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return everything but the secrets."""
        hidden = {"key", "secret", "worker_key"}
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in hidden]

    @property
    def speaks(self) -> bool:
        """Whether there is a speech app."""
        return bool(self.job_submit)

    @property
    def token(self) -> dict[str, str]:
        """The headers of the proxy token, none if there is none."""
        return {"modal-key": self.key, "modal-secret": self.secret} if self.key else {}

    @property
    def designs(self) -> bool:
        """Whether somebody invents voices."""
        return bool(self.design_url or self.voice_design)

    @property
    def waits(self) -> float | None:
        """Seconds that the edge may send nothing, None for as long as the caller waits."""
        if self.read_seconds:
            return self.read_seconds
        return FUNCTION_READ_SECONDS if self.kind_of_endpoint == "function" else None

    def _check_designs(self) -> None:
        if self.design_url and not (self.speaks or any(served.verb == "clone" for served in self.models.values())):
            message = "design_url: no model here speaks with designed voices; give one the verb clone"
            raise ValueError(message)

    def _check_jobs(self) -> None:
        if self.job_clone and not self.job_submit:
            message = "job_clone: is of a speech app, which has job_submit"
            raise ValueError(message)
        if self.job_clone_characters < 0:
            message = f"job_clone_characters: {self.job_clone_characters} is less than 0"
            raise ValueError(message)
        if len({bool(getattr(self, name)) for name in _JOB_URLS}) > 1:
            message = f"job_submit: a speech app has {', '.join(_JOB_URLS)}; give all or none"
            raise ValueError(message)
        for name, voice in self.voices.items():
            path = Path(voice.audio)
            if not path.is_file() or path.stat().st_size > MAX_RECORDING_BYTES:
                message = f"voices.{name}.audio: is no file of at most {MAX_RECORDING_BYTES} bytes"
                raise ValueError(message)


def _check_url(name: str, url: str) -> None:
    if not url:
        return
    parts = urlsplit(url)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        message = f"{name}: is http or https, a host, and perhaps a port and a path; without credentials"
        raise ValueError(message)


def _check_header(name: str, text: str) -> None:
    if not text.isascii() or any(not one.isprintable() or one == " " for one in text):
        message = f"{name}: holds characters that have no place in one"
        raise ValueError(message)
