"""The bodies of the HTTP interface, as they are read and as they are documented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Prompt = Annotated[str, Field(min_length=1, max_length=10_000)]
Steps = Annotated[int, Field(ge=1)]
Guidance = Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Format = Literal["png", "jpeg", "jpg", "webp"]


class _Body(BaseModel):
    # Clients of other servers send fields that mean nothing here; a strict worker would refuse them all.
    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageRequest(_Body):
    """What `/v1/images/generations` and `/v1/images/edits` have in common, under the names of OpenAI and vLLM-Omni."""

    prompt: Prompt
    model: str | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: str | None = Field(default=None, description="`WIDTHxHEIGHT`, or `auto`: the size of the first picture.")
    resolution: int | None = Field(
        default=None,
        ge=32,
        le=8192,
        description="Side of a square as large as the picture where no size is given, and as the model looks at pictures.",
    )
    layers: int | None = Field(default=None, ge=2, le=10, description="Take the picture apart into so many.")
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Format = "png"
    output_compression: int = Field(default=100, ge=0, le=100)
    negative_prompt: str | None = Field(default=None, max_length=10_000)
    num_inference_steps: Steps | None = None
    quality: str | None = Field(default=None, description="`low`, `medium` or `high` choose the number of steps.")
    true_cfg_scale: Guidance | None = None
    guidance_scale: Guidance | None = Field(default=None, description="Read where `true_cfg_scale` is not given.")
    seed: Seed | None = None
    stream: bool = False
    partial_images: int = Field(default=0, ge=0, le=3)
    timeout: Seconds | None = None


class ProcessOptions(_Body):
    """How `/process` is to work. `steps` wins over `quality`."""

    quality: Literal["low", "medium", "high"] | None = None
    timeout: Seconds | None = None
    negative_prompt: str | None = Field(default=None, max_length=10_000)
    steps: Steps | None = None
    seed: Seed | None = None
    width: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    true_cfg_scale: Guidance | None = None
    respond_async: bool = Field(default=False, alias="async")


class ProcessRequest(_Body):
    """One picture to be edited, or to be made where no picture is given. The flat fields are those of older clients."""

    prompt: Prompt
    image: str | None = Field(default=None, description="Base64, plain or as a data: URL.")
    image_base64: str | None = None
    model: str | None = None
    options: ProcessOptions = ProcessOptions()
    negative_prompt: str | None = Field(default=None, max_length=10_000)
    num_inference_steps: Steps | None = None
    true_cfg_scale: Guidance | None = None
    seed: Seed | None = None


class ProcessAnswer(BaseModel):
    """The edited picture as a PNG in base64, under both names that clients know."""

    success: bool
    processed_image: str
    processed_image_base64: str
    processing_time: float = Field(description="Seconds in the model.")
    model_used: str
    message: str
    seed: int


class Accepted(BaseModel):
    """A job that was let in."""

    job_id: str
    status: str


class ErrorBody(BaseModel):
    """Why there is no success."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorAnswer(BaseModel):
    """The body of every failure."""

    error: ErrorBody
    success: Literal[False] = False
    message: str


class JobStatus(BaseModel):
    """Where a job is; times are Unix seconds."""

    job_id: str
    status: Literal["queued", "encoding", "running", "completed", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    step: int
    steps: int
    queue_position: int | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: ErrorBody | None


class Health(BaseModel):
    """Whether requests are taken, and how many there are."""

    status: Literal["ready", "loading", "unhealthy", "stopping"]
    model_loaded: bool
    model: str
    message: str | None
    device: str
    engine: str
    queue_depth: int
    running: int
    max_concurrent_requests: int


class Limits(BaseModel):
    """What a request may ask for; what the model does not do has no limits."""

    max_upload_bytes: int
    max_pixels: int | None = None
    max_input_pixels: int | None = None
    min_steps: int | None = None
    max_steps: int | None = None
    default_steps: int | None = None
    default_guidance: float | None = None
    max_images: int | None = None
    max_input_images: int | None = None
    size_multiple: int | None = None
    max_input_characters: int | None = None
    max_new_tokens: int | None = None
    max_recording_bytes: int | None = None
    sample_rates: list[int] | None = None


class Models(BaseModel):
    """What is loaded and what it does."""

    available_models: list[str]
    capabilities: list[str]
    supported_formats: list[str]
    languages: list[str] = Field(default=[], description="That the model speaks.")
    voices: list[str] = Field(default=[], description="That the model brings along.")
    limits: Limits


class ModelCard(BaseModel):
    """One entry of OpenAI's list of models."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "pixvox-worker"


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ImageData(BaseModel):
    """One picture of an answer."""

    b64_json: str
    url: None = None
    revised_prompt: None = None
    seed: int


class ImageAnswer(BaseModel):
    """OpenAI's answer, and what was really used."""

    created: int
    data: list[ImageData]
    output_format: str
    size: str
    seed: int
    processing_time: float
