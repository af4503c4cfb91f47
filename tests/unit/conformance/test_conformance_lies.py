"""Every check fails on a provider that does what it is meant to find, and says so in words that help."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from pixvox.testing.conformance import Result, Subject, chosen, run_one

pytestmark = pytest.mark.usefixtures("third_party_kinds")

# A lie, the check that is meant for it, the method that the finding names, and what it says.
LIES = [
    ("twice", "table", "models", "the name 'painter' is there twice"),
    ("nothing", "table", "models", "the model has no verb"),
    ("rate", "table", "models", "stream_speech.sample_rates_hertz lists 11111, which the service does not make"),
    ("default-size", "table", "models", "generate_image.size.default_size 4096x256 is not allowed by the rule"),
    ("verb", "verbs", "design_voice", "the provider has the method design_voice, and no model lists the verb"),
    ("awaited", "verbs", "stream_speech", "stream_speech is an async function"),
    ("cold", "warmth", "warm_up", "warmth() is Warmth.COLD after warm_up"),
    (
        "max-size",
        "image-sizes",
        "generate_image",
        "asked for 2048x2048 pixels, the largest that the table allows; the picture has 1024x1024",
    ),
    ("no-data", "image-sizes", "generate_image", "gave 10 bytes that are no picture"),
    ("wrong-type", "image-formats", "generate_image", "asked for IMAGE_FORMAT_JPEG; the file is image/png"),
    (
        "max-n",
        "image-counts",
        "generate_image",
        "asked for 8 pictures, the most that the table allows (max_n 8), and got 3",
    ),
    ("empty", "image-deliveries", "generate_image", "asked for DELIVERY_INLINE: the Blob has no data"),
    ("random", "image-seeds", "generate_image", "two equal requests with seed 7 gave different files"),
    ("seedless", "image-seeds", "generate_image", "seeds 7 and 2147483647 gave the same file"),
    ("short-prompts", "image-prompts", "generate_image", "raised INVALID_PARAMETER (InvalidParameterError): Too long."),
    ("inputs", "edit-inputs", "edit_image", "two different pictures became the same one"),
    ("mask", "edit-masks", "edit_image", "the part that the mask protects was changed, by "),
    ("mutates", "inputs-untouched", "generate_image", "the request is changed after the call"),
    ("unbilled", "receipts", "generate_image", "the receipt's usage has no unit; it could have images"),
    (
        "warnings",
        "warnings",
        "generate_image",
        "a warning has the reason WARNING_REASON_UNSPECIFIED, the field '' and the message '?'",
    ),
    (
        "swallows",
        "image-cancel",
        "generate_image",
        "went on to its end and gave its result although it was cancelled",
    ),
    ("stubborn", "image-cancel", "generate_image", "had not ended 1 s after it was cancelled"),
    ("translates", "image-cancel", "generate_image", "raised PROVIDER_DISCONNECTED (ProviderDisconnectedError)"),
    ("leaks-task", "image-cancel", "generate_image", "left running after the call: sleep (leaked)"),
    (
        "swallows",
        "image-deadline",
        "generate_image",
        "went on to its end and gave its result although it was cancelled",
    ),
    (
        "odd-bytes",
        "speech-audio",
        "stream_speech",
        "a piece of audio has 1599 bytes, which is half a sample too many",
    ),
    ("silent", "speech-audio", "stream_speech", "the loudest sample is 0 of 32767"),
    ("headed", "speech-audio", "stream_speech", "the audio begins with b'RIFF', like a file"),
    (
        "stream-rate",
        "speech-rates",
        "stream_speech",
        "asked for 48000 Hz: the sentence lasts 0.75 s at the 48000 Hz that the stream says",
    ),
    ("voice", "speech-voices", "stream_speech", "asked for voice 'high'; the stream says 'low'"),
    ("unhurried", "speech-manner", "stream_speech", "at speaking_rate 2 the sentence lasts 2.25 s, and 2.25 s at 0.5"),
    ("two-receipts", "speech-order", "stream_speech", "2 receipts came"),
    ("no-receipt", "speech-order", "stream_speech", "0 receipts came"),
    ("late-flush", "speech-order", "stream_speech", "the audio before, between and after the flushes"),
    ("no-receipt", "speech-short-texts", "stream_speech", "a text that ends at once: 0 receipts came"),
    (
        "wraps",
        "speech-text-errors",
        "stream_speech",
        "the text raised at once, and PROVIDER_INTERNAL (ProviderInternalError): Something is wrong. came out",
    ),
    (
        "hides",
        "speech-text-errors",
        "stream_speech",
        "the text raised after a flush, and the synthesis ended as if it was whole, with 1 receipts",
    ),
    ("ahead", "speech-slow-reader", "stream_speech", "while nobody read for "),
    (
        "impatient",
        "speech-liveliness",
        "stream_speech",
        "two sentences were sent, and without the end of the text no audio came within 3 s",
    ),
    (
        "swallows",
        "speech-cancel",
        "stream_speech",
        "while its block is entered: went on to its end and gave its result",
    ),
    ("abandons", "speech-cancel", "stream_speech", "while it is read: left running: sleep (abandoned)"),
    ("ahead", "speech-cancel", "stream_speech", "while it waits for text: raised RuntimeError: aclose(): asynchronous"),
    ("abandons", "speech-deadline", "stream_speech", "while it is read: left running: sleep (abandoned)"),
    ("lingers", "speech-leaving", "stream_speech", "left after its first audio: had not ended 1 s after it"),
    ("abandons", "speech-leaving", "stream_speech", "left after its first audio: left running: sleep (abandoned)"),
    ("tells", "errors-rehearsed", "generate_image", "hold the caller's, or a key: \"Could not do 'quorvelith"),
    (
        "wrong-reason",
        "errors-rehearsed",
        "stream_speech",
        "PROVIDER_INTERNAL was provoked, and RATE_LIMITED (RateLimitedError): Too many at once. came out",
    ),
    (
        "key-error",
        "errors-odd-requests",
        "edit_image",
        "asked with an option that nobody knows, and KeyError: 'style' (at bad_pixvox/pictures.py:",
    ),
    (
        "mixes",
        "image-concurrency",
        "generate_image",
        "calls 1 and 2 of those at once asked for different pictures and got the same",
    ),
    ("mixes-speech", "speech-concurrency", "stream_speech", "of the texts at once a longer one gave less audio"),
    ("blocks", "event-loop", "generate_image", "the event loop stood still for 1."),
    ("leaks-task", "tasks", "generate_image", "3 calls left 3 tasks running: sleep (leaked)"),
    ("leaks-task", "close", "aclose", "after calls, left running: sleep (leaked)"),
    ("close-raises", "close", "aclose", "without any call before it, raised OSError: there is nothing to close"),
    ("leaks-file", "resources", "aclose", "left open: /dev/null"),
    ("leaks-thread", "resources", "aclose", "threads left running: leaked"),
    ("leaks-collected", "resources", "aclose", "was not closed but collected: unclosed <socket.socket"),
]

# They look at the whole process.
ALONE = {"resources", "speech-slow-reader"}


def bad(*lies: str) -> Subject:
    return Subject("bad", {"lies": list(lies)}, seconds=3.0)


@pytest.fixture(scope="module")
def running(third_party_kinds):
    """The trials that may run beside each other, by lie and check: most of their time is waiting."""
    with ThreadPoolExecutor(4) as pool:
        yield {
            (lie, name): pool.submit(run_one, bad(lie), check)
            for lie, name, _, _ in LIES
            if name not in ALONE
            for check in chosen([name])
        }


@pytest.mark.parametrize(("lie", "check", "method", "seen"), LIES, ids=[f"{lie}-{check}" for lie, check, _, _ in LIES])
def test_a_lie_is_found_by_the_check_that_is_meant_for_it(
    running: dict, lie: str, check: str, method: str, seen: str
) -> None:
    if check in ALONE:
        wait(running.values())
        [outcome] = [run_one(bad(lie), one) for one in chosen([check])]
    else:
        outcome = running[lie, check].result()

    assert outcome.result is Result.FAIL
    assert any(seen in finding.seen and finding.method == method for finding in outcome.findings), outcome.findings
    assert all(finding.contract for finding in outcome.findings)


@pytest.mark.parametrize("check", sorted({check for _, check, _, _ in LIES}))
def test_without_its_lies_the_provider_passes(running: dict, check: str) -> None:
    wait(running.values())
    for one in chosen([check]):
        outcome = run_one(bad(), one)

        assert outcome.result is not Result.FAIL, outcome.findings
