"""Every attribute name as our own constant.

Names follow the OpenTelemetry conventions for RPC (1.44, release candidate) and GenAI (1.42-dev). They are literals because
the GenAI names still move. Prompts, text and media never become attributes.
"""

from __future__ import annotations

RPC_SYSTEM_NAME = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS_CODE = "rpc.status_code"
ERROR_TYPE = "error.type"
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
GEN_AI_REQUEST_SEED = "gen_ai.request.seed"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
PIXVOX_ATTEMPT_NUMBER = "pixvox.attempt.number"
PIXVOX_ROUTE = "pixvox.route"
PIXVOX_COST_STATE = "pixvox.cost.state"
PIXVOX_COST_AMOUNT = "pixvox.cost.amount"
PIXVOX_COST_CURRENCY = "pixvox.cost.currency"
PIXVOX_REQUEST_ID = "pixvox.request_id"
PIXVOX_IMAGES = "pixvox.usage.images"
PIXVOX_CHARACTERS = "pixvox.usage.characters"
PIXVOX_AUDIO_SECONDS = "pixvox.usage.audio_seconds"
# HTTP client spans, stable: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
HTTP_REQUEST_METHOD = "http.request.method"
HTTP_REQUEST_RESEND_COUNT = "http.request.resend_count"
HTTP_REQUEST_BODY_SIZE = "http.request.body.size"
HTTP_RESPONSE_BODY_SIZE = "http.response.body.size"
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
URL_FULL = "url.full"
PIXVOX_FIELD = "pixvox.field"
PIXVOX_UPSTREAM_OPERATION = "pixvox.upstream.operation"
PIXVOX_REPLAY_CLASS = "pixvox.attempt.replay_class"
PIXVOX_EVENTS_RECEIVED = "pixvox.events.received"
# An event of a request for pictures: a step is over.
STEP = "step"
PIXVOX_STEP = "pixvox.step"
PIXVOX_STEPS = "pixvox.steps"
PIXVOX_SOCKET_CLOSE_CODE = "pixvox.socket.close_code"
PIXVOX_SOCKET_MESSAGES_SENT = "pixvox.socket.messages.sent"
PIXVOX_SOCKET_MESSAGES_RECEIVED = "pixvox.socket.messages.received"
PIXVOX_SOCKET_BYTES_SENT = "pixvox.socket.bytes.sent"
PIXVOX_SOCKET_BYTES_RECEIVED = "pixvox.socket.bytes.received"
# A vendor's own names for what it was asked: of the call, of the work that it began, of what it complains about.
PIXVOX_PROVIDER_REQUEST_ID = "pixvox.provider_request_id"
PIXVOX_PROVIDER_TASK_ID = "pixvox.provider_task_id"
PIXVOX_PROVIDER_CODE = "pixvox.provider_code"
# Of an operation.
PIXVOX_LANE = "pixvox.lane"
PIXVOX_REGION = "pixvox.region"
PIXVOX_QUEUE_WAIT = "pixvox.target.queue.wait"
PIXVOX_EARLIER_ATTEMPTS = "pixvox.attempt.earlier"
PIXVOX_OUTPUT_BYTES = "pixvox.output.bytes"
PIXVOX_PRICE_TABLE = "pixvox.cost.price_table"
GEN_AI_REQUEST_IMAGE_WIDTH = "gen_ai.request.image.width"
GEN_AI_REQUEST_IMAGE_HEIGHT = "gen_ai.request.image.height"
PIXVOX_VOICES = "pixvox.usage.voices"
# Whether a recording of the voice went along.
PIXVOX_VOICE_BY_REFERENCE = "pixvox.voice.by_reference"
# Of a link: what the other span is to this one.
PIXVOX_LINK = "pixvox.link"
LINK_SUBMIT = "submit"
LINK_SESSION = "session"
LINK_CALL = "call"
# Of a call that asked no provider itself: its answer was kept from an earlier call, or is that of one under way.
PIXVOX_ANSWER = "pixvox.answer"
ANSWER_KEPT = "kept"
ANSWER_SHARED = "shared"
# What callers sent; only where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for it.
GEN_AI_INPUT_MESSAGES = "gen_ai.input.messages"
GEN_AI_SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"

# The conventions count these as the server's own fault; every other code is the caller's or nobody's.
SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1200)

# Of the service's own metrics.
PROVIDER = "provider"
MODEL = "model"
CALLER = "caller"
CURRENCY = "currency"
ROUTE = "route"
OUTCOME = "outcome"
REASON = "reason"
MEASURE = "measure"
REPLAY_CLASS = "replay_class"
