"""The vendor's realtime speech protocol, without a socket: one session's messages out and in, and what they amount to.

Source: "Qwen-TTS Realtime client events", "server events" and "interaction flow" of Alibaba Cloud Model Studio. JSON text
both ways; audio is base64 in it.

Sessions are held in ``commit`` mode, in which nothing is spoken that was not committed, and text is sent together with its
commit. In ``server_commit`` mode the vendor parts the text by rules of its own, so nobody knows when the audio before a
flush is over, or even whether there is anything left to commit, and a commit without text is an error that costs the
session. Here it is known what was committed; what was spoken of it is known in two ways:

- `Dialogue.exact`: the characters that the vendor bills with each ``response.done`` add up to those that were committed.
  One commit may be answered by several responses, and nothing tells which is its last, but for this.
- ``session.finished`` follows the audio of everything, whatever the vendor counts. Where the numbers do not add up, a flush
  is answered by finishing the session, and what comes later has another one.

One commit is under way at a time. Nothing is said about the order, or the end, of several; and the text that comes in the
meantime makes one segment, which sounds better than its sentences one by one.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec

from pixvox.errors import ProviderInternalError
from pixvox.providers.dashscope.refusals import Complaint
from pixvox.providers.dashscope.speech_models import SAMPLE_RATE_HERTZ
from pixvox.providers.dashscope.speech_text import billed_characters

if TYPE_CHECKING:
    from collections.abc import Mapping

BYTES_PER_SAMPLE = 2


class FaultError(Exception):
    """The vendor said ``error``, which ends the session.

    Attributes:
        complaint: What it said.
    """

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.code)
        self.complaint = complaint


class Dialogue:
    """One session.

    Attributes:
        id: The vendor's, as soon as it was created.
        created: Whether it was.
        updated: Whether the settings were taken over.
        finishing: Whether it was asked to finish.
        finished: Whether it did: all that was committed was spoken.
        characters: That the vendor bills so far.
        committed: Characters that were committed, as the vendor should bill them.
        samples: Of audio so far.
    """

    def __init__(self) -> None:
        self.id = ""
        self.created = False
        self.updated = False
        self.finishing = False
        self.finished = False
        self.characters = 0
        self.committed = 0
        self.samples = 0
        self._counted = True
        self._waiting = False
        self._responding = False
        self._half = b""

    @property
    def busy(self) -> bool:
        """Whether a response is under way, or is still to come for what was committed last."""
        return self._waiting or self._responding

    @property
    def exact(self) -> bool:
        """Whether it is certain that all audio of what was committed has come."""
        return self.finished or (not self.busy and self._counted and self.characters == self.committed)

    @property
    def expecting(self) -> bool:
        """Whether the vendor has something to say."""
        return not self.finished and (self.busy or self.finishing)

    def heard(self, message: str | bytes) -> bytes:
        """Take in a message, and return the audio to hand on: whole samples, maybe none.

        Raises:
            FaultError: The vendor said ``error``.
            ProviderInternalError: The message makes no sense, or a response failed.
        """
        try:
            event = msgspec.json.decode(message, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._senseless("sent a message that makes no sense") from error
        match event.type:
            case "response.audio.delta":
                return self._audio(event.delta or b"")
            case "response.created":
                self._responding = True
            case "response.done":
                self._response_done(event.response or _Response())
            case "session.created" | "session.updated":
                self.id = (event.session and event.session.id) or self.id
                self.created = True
                self.updated = self.updated or event.type == "session.updated"
            case "session.finished":
                self._responding = self._waiting = False
                self.finished = True
            case "error":
                raise FaultError(self._complaint(event.error or _Fault()))
            case _:
                # The rest says how a response is built up, which nobody needs to know.
                pass
        return b""

    def update(self, manner: Mapping[str, object]) -> str:
        """Return the message that says how to speak, with members of the vendor's ``session``; it can be said once."""
        fixed = {"mode": "commit", "response_format": "pcm", "sample_rate": SAMPLE_RATE_HERTZ}
        return _message("session.update", session={**manner, **fixed})

    def speak(self, segment: str) -> tuple[str, str]:
        """Return the messages that have a segment spoken; say so with `spoken_for` when they were sent."""
        return _message("input_text_buffer.append", text=segment), _message("input_text_buffer.commit")

    def spoken_for(self, segment: str) -> None:
        """Note that a segment was committed."""
        self.committed += billed_characters(segment)
        self._waiting = True

    def finish(self) -> str:
        """Return the message that ends the session when all was spoken."""
        self.finishing = True
        return _message("session.finish")

    @property
    def billed(self) -> int:
        """The characters that are billed: the vendor's number, or ours where a response had none."""
        return self.characters if self._counted else max(self.characters, self.committed)

    def _audio(self, data: bytes) -> bytes:
        if self._half:
            data = self._half + data
            self._half = b""
        if len(data) % BYTES_PER_SAMPLE:
            self._half = data[-1:]
            data = data[:-1]
        self.samples += len(data) // BYTES_PER_SAMPLE
        return data

    def _response_done(self, response: _Response) -> None:
        if response.status not in {"completed", ""}:
            raise self._senseless(f"ended a response as {response.status[:32]!r}")
        self._responding = self._waiting = False
        # Half a sample at the end of a response would make noise of the next one.
        self._half = b""
        if response.usage is None or response.usage.characters is None:
            self._counted = False
        else:
            self.characters += response.usage.characters

    def _complaint(self, fault: _Fault) -> Complaint:
        # A general `type` may stand beside a code, or in its place.
        return Complaint(code=str(fault.code or fault.type or ""), message=fault.message or "", request_id=self.id)

    def _senseless(self, what: str) -> ProviderInternalError:
        return ProviderInternalError(f"The provider {what}.", metadata={"provider_request_id": self.id})


class _Session(msgspec.Struct):
    id: str | None = None


class _Usage(msgspec.Struct):
    characters: int | None = None


class _Response(msgspec.Struct):
    status: str = ""
    usage: _Usage | None = None


class _Fault(msgspec.Struct):
    type: str | None = None
    code: str | int | None = None
    message: str | None = None


class _Event(msgspec.Struct):
    type: str
    session: _Session | None = None
    response: _Response | None = None
    error: _Fault | None = None
    delta: bytes | None = None


def _message(type: str, **members: object) -> str:  # noqa: A002  # the protocol's name for it
    event = {"event_id": f"event_{uuid.uuid4().hex}", "type": type, **members}
    return msgspec.json.encode(event).decode()
