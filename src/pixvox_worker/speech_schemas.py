"""The bodies of the HTTP interface for speech, under the names of OpenAI and vLLM-Omni."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pixvox_worker.schemas import ErrorBody, Seconds, Seed  # noqa: TC001 - pydantic reads the annotations

TaskType = Literal["CustomVoice", "VoiceDesign", "Base"]


def _name_of(given: Any) -> Any:  # noqa: ANN401 - whatever JSON holds; pydantic checks what comes out
    """OpenAI's object around the id of a voice."""
    return given.get("id") if isinstance(given, dict) else given


VoiceName = Annotated[
    str,
    Field(max_length=256),
    BeforeValidator(_name_of),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
            ]
        }
    ),
]


class SpeechRequest(BaseModel):
    """A text to be spoken. Which voice fields may be given depends on the checkpoint that is loaded."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: str = Field(min_length=1, max_length=100_000)
    model: str | None = None
    voice: VoiceName | None = Field(
        default=None,
        validation_alias=AliasChoices("voice", "speaker"),
        description="A voice of the model, or one that was sent to `/v1/audio/voices`.",
    )
    response_format: Literal["wav", "pcm", "flac", "mp3", "opus"] = "wav"
    speed: float = Field(default=1.0, ge=0.25, le=4.0, description="The models have one speed: only 1.0 is taken.")
    instructions: str | None = Field(default=None, max_length=2_000, description="The style, or who speaks.")
    language: str | None = Field(default=None, max_length=64, description="`Auto`, an English name or a BCP-47 tag.")
    task_type: TaskType | None = Field(default=None, description="Must be what the checkpoint does.")
    ref_audio: str | None = Field(
        default=None, description="A recording of 1 to 30 seconds, base64, plain or as a data: URL."
    )
    ref_text: str | None = Field(default=None, max_length=2_000, description="What is said in `ref_audio`.")
    x_vector_only_mode: bool = Field(default=False, description="Copy the voice alone: no `ref_text` is needed.")
    max_new_tokens: int = Field(default=2_048, ge=1, le=4_096, description="Frames of 80 ms.")
    seed: Seed | None = None
    sample_rate: Literal[24000, 8000] = 24000
    stream: bool = False
    stream_format: Literal["audio", "sse"] | None = None
    timeout: Seconds | None = None


class Usage(BaseModel):
    """Tokens of the text that was read, and frames of sound that were made."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDelta(BaseModel):
    """The next piece of a streamed speech."""

    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str = Field(description="Base64 of 16 bit samples, signed, little endian, one channel.")
    response_format: Literal["pcm"] = "pcm"
    sample_rate: int


class SpeechDone(BaseModel):
    """A streamed speech is complete."""

    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: Usage
    seed: int


class SpeechError(BaseModel):
    """A streamed speech will not be complete."""

    type: Literal["speech.audio.error"] = "speech.audio.error"
    error: ErrorBody
    partial_audio: bool
    action: Literal["discard"] = "discard"


class UploadedVoice(BaseModel):
    """A voice that was left here."""

    name: str
    consent: str
    created_at: int
    file_size: int
    mime_type: str
    ref_text: str | None = None
    speaker_description: str | None = None


class VoiceList(BaseModel):
    """All that can be asked for as `voice`."""

    voices: list[str]
    uploaded_voices: list[UploadedVoice]


class VoiceAdded(BaseModel):
    """A voice is kept."""

    success: Literal[True] = True
    voice: UploadedVoice


class VoiceRemoved(BaseModel):
    """A voice is forgotten."""

    success: Literal[True] = True
    name: str
