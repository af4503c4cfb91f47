"""Every table of the settings with its defaults."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

MEBIBYTE = 1024 * 1024

Verb = Literal["generate_image", "edit_image", "stream_speech", "clone_voice", "design_voice"]


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how the service listens.

    Attributes:
        listen: HOST:PORT of gRPC; port 0 takes a free one.
        http: HOST:PORT of health and metrics over HTTP; empty switches it off. With several workers the k-th uses PORT+k.
        admin: HOST:PORT of channelz; empty (the default) switches it off.
        workers: Processes that share the gRPC port.
        grace_seconds: How long running calls may go on after SIGTERM.
        max_request_bytes: Largest request message.
        max_response_bytes: Largest answer message.
        reflection: Whether clients may ask for the contract.
        caller_metadata: Key of the call metadata in which a caller gives its name, for routes, fairness and cost. The name
            is believed, so whatever stands before the service has to set it. Empty means that nobody may give one. A caller
            without a name goes by its network address.
        watch_seconds: Between two looks whether the settings file has changed; 0 leaves reloading to SIGHUP.
    """

    listen: str = "127.0.0.1:50051"
    http: str = "127.0.0.1:8080"
    admin: str = ""
    workers: int = 1
    grace_seconds: float = 30.0
    max_request_bytes: int = 48 * MEBIBYTE
    max_response_bytes: int = 64 * MEBIBYTE
    reflection: bool = True
    caller_metadata: str = "x-pixvox-caller"
    watch_seconds: float = 2.0


class DeadlineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds that a call may take when its caller set no deadline, and the most that a caller may ask for."""

    generate_image: float = 180.0
    edit_image: float = 300.0
    stream_speech: float = 900.0
    synthesize_speech: float = 300.0
    make_voice: float = 180.0
    read: float = 10.0
    longest: float = 3600.0


class FetchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How inputs that are named by address are downloaded.

    Attributes:
        allowed_hosts: Hosts (or HOST:PORT) that may be visited although they are not public.
        seconds: For one download, redirects included.
        max_bytes: Of one download.
    """

    allowed_hosts: tuple[str, ...] = ()
    seconds: float = 15.0
    max_bytes: int = 20 * MEBIBYTE


class InputSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of input pictures that hold for every model.

    Attributes:
        max_bytes: Of one encoded file.
        max_pixels: Width times height, checked before a picture is decoded.
    """

    max_bytes: int = 20 * MEBIBYTE
    max_pixels: int = 100_000_000


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged, to standard error.

    Attributes:
        level: The least that is written.
        format: `auto` is text on a terminal and JSON otherwise.
        sample: Share of the lines of calls that went well, 0..1; of those that did not, every line is written.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    sample: float = 1.0


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of telemetry goes where; the standard variables `OTEL_*` win over it.

    Endpoints, headers, certificates, queues and limits have no field: the SDK reads their variables itself.

    Attributes:
        span_file: A file to which finished spans are appended, a JSON object a line. Empty means none.
        disabled: Whether there is no telemetry at all, `/metrics` included.
        traces: Where spans go; "none" among them means nowhere. Nothing is said by default: they go nowhere, unless the
            environment has an endpoint.
        metrics: The same of metrics; "prometheus" stands for `/metrics`, which is there anyway.
        logs: The same of log lines, which standard error gets anyway.
        traces_protocol: Of OTLP.
        metrics_protocol: Of OTLP.
        logs_protocol: Of OTLP.
        sampler: Which traces are sampled, by the standard names.
        sampler_ratio: The share of them, 0..1, for the two samplers that take one.
        keep_failed: Whether calls that failed are exported although they were not sampled.
        slow_seconds: Calls that took so long are, too; 0 is never.
        capture_content: Whether spans hold the words that callers sent: prompts, texts and descriptions, each cut to 4096
            characters; never media.
    """

    span_file: str = ""
    disabled: bool = False
    traces: tuple[Literal["otlp", "console", "none"], ...] = ()
    metrics: tuple[Literal["otlp", "console", "prometheus", "none"], ...] = ()
    logs: tuple[Literal["otlp", "console", "none"], ...] = ()
    traces_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    metrics_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    logs_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = "parentbased_always_on"
    sampler_ratio: float = 1.0
    keep_failed: bool = True
    slow_seconds: float = 0.0
    capture_content: bool = False


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the catalogue of voices is kept.

    Attributes:
        url: An SQLAlchemy address: SQLite (a file) or PostgreSQL (for several instances).
    """

    url: str = "sqlite+aiosqlite:///pixvox.db"


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What calls cost.

    Attributes:
        file: A table of prices that is laid over the built-in one. Empty means none.
    """

    file: str = ""


class IdempotencySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of the answers of calls that came with a request_id.

    Attributes:
        retention_seconds: How long an answer is kept, from its end.
        max_answer_bytes: Of an answer that is kept; of a larger one only that it was given.
        lease_seconds: Without a sign of life for so long, the instance that makes a call counts as dead.
        linger_seconds: How long a call whose callers have all left goes on, so that a retry finds it.
    """

    retention_seconds: float = 86_400.0
    max_answer_bytes: int = 64 * MEBIBYTE
    lease_seconds: float = 15.0
    linger_seconds: float = 0.0


class TargetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much one model of one provider is given to do by one instance, and when it counts as failing.

    Attributes:
        requests_per_minute: None takes what the model's capability states; 0 is no limit.
        burst: Requests that may be sent at once after a pause; 0 takes the share of one second, at least 1.
        max_in_flight: Calls at once; None takes what the model's capability states; 0 is no limit.
        max_queued: Calls that may wait for a place.
        failures: So many failures in a row open the circuit; 0 is never.
        error_rate: Such a share of failures in the window opens the circuit; 0 is never.
        min_calls: So many calls the window has to hold before `error_rate` counts.
        window_seconds: The time that `error_rate` looks back.
        open_seconds: How long an open circuit lets nothing through.
        probes: Calls at once that an opening circuit lets through to see whether the target works; as many have to
            succeed.
    """

    requests_per_minute: float | None = None
    burst: int = 0
    max_in_flight: int | None = None
    max_queued: int = 100
    failures: int = 5
    error_rate: float = 0.5
    min_calls: int = 10
    window_seconds: float = 30.0
    open_seconds: float = 10.0
    probes: int = 1


class ConditionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which calls a target takes; a call has to meet every condition that is given.

    Attributes:
        verbs: The verbs of the route, for which the target is there.
        min_pixels: Width times height that is asked for; a call that asks for no size does not meet it.
        max_pixels: As `min_pixels`.
        voices: Ids of voices.
        languages: BCP-47 tags; `en` is met by `en-US`, too.
        labels: Key to values, one of which the call's label has to have; `*` stands for any.
        callers: Their names.
    """

    verbs: tuple[Verb, ...] = ()
    min_pixels: int = 0
    max_pixels: int = 0
    voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = {}
    callers: tuple[str, ...] = ()


class GuardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a weighted target loses its weight. It is compared with the other weighted targets beside it, over their calls.

    Attributes:
        calls: How many of the latest calls count: those of the shortest stretch that holds so many of each side.
        min_calls: No judgement before the target has had so many.
        error_rate: By how much its share of failures may exceed theirs, 0..1; None does not look.
        p95_ratio: How many times theirs its 95th percentile of durations may be; None does not look.
        first_audio_ratio: The same of the time to the first audio.
        trial: Any number; a changed one gives a target that was rolled back its weight again.
    """

    calls: int = 100
    min_calls: int = 20
    error_rate: float | None = 0.05
    p95_ratio: float | None = None
    first_audio_ratio: float | None = None
    trial: int = 1


class RouteTargetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One target of a route.

    Attributes:
        to: PROVIDER/MODEL, or PROVIDER for its first model that has the verb.
        when: Which calls it takes; all by default.
        weight: Its share among the weighted targets directly beside it: one of them is drawn to be tried first, the others
            follow in their order. 0 takes no calls.
        guard: Takes its weight away when it does worse than the others.
    """

    to: str
    when: ConditionSettings = ConditionSettings()
    weight: float | None = None
    guard: GuardSettings | None = None


class RouteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name for requests' `model`, and the targets behind it, which are tried in their order.

    Attributes:
        verbs: That it serves.
        targets: At least one.
        sticky: What a draw by weight follows: `caller`, or `label:KEY`; empty draws anew for each call.
        cold: PREFER_WARM tries warm targets first and has cold ones started beside the call; ALLOW_COLD keeps the order.
        overflow: Whether a call goes on to the next target when one could not begin it at once; if none can, it waits for
            the first whose turn comes in time.
        single_flight: Whether identical calls that are in flight together share one.
    """

    verbs: tuple[Verb, ...]
    targets: tuple[RouteTargetSettings, ...]
    sticky: str = ""
    cold: Literal["ALLOW_COLD", "PREFER_WARM"] = "ALLOW_COLD"
    overflow: bool = True
    single_flight: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set.

    Attributes:
        providers: By name, in order of preference; each table has `kind`, may have `enabled`, and the rest is that
            kind's own configuration; `switched_off` lists verbs that it may not serve.
        defaults: Verb to ROUTE, PROVIDER or PROVIDER/MODEL; `PROVIDER?` is that provider where it has the verb, else the first
            that has.
        routes: By name.
        switches: Verb to whether it is served at all; one that is not named is.
        target_defaults: For every target.
        targets: By PROVIDER or PROVIDER/MODEL: fields of `TargetSettings` that differ from the defaults.
    """

    server: ServerSettings = ServerSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    fetch: FetchSettings = FetchSettings()
    inputs: InputSettings = InputSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    database: DatabaseSettings = DatabaseSettings()
    prices: PriceSettings = PriceSettings()
    providers: dict[str, dict[str, Any]] = msgspec.field(default_factory=lambda: {"sandbox": {"kind": "sandbox"}})
    defaults: dict[Verb, str] = {}
    routes: dict[str, RouteSettings] = {}
    switches: dict[Verb, bool] = {}
    target_defaults: TargetSettings = TargetSettings()
    targets: dict[str, dict[str, Any]] = {}
    idempotency: IdempotencySettings = IdempotencySettings()

    def __repr__(self) -> str:
        """Return nothing but the providers' names: their tables hold keys."""
        return f"Settings(providers={list(self.providers)})"
