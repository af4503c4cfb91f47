"""Asks a worker for speech, listens to it, and makes recordings, for tests."""

from __future__ import annotations

import base64
import io
import json
import socket

import numpy as np
import soundfile
from serving_worker import wait_until

SAY = {"input": "good morning to you all", "voice": "ryan", "seed": 1}


def say(client, *, headers=None, **fields):
    """Ask for speech; None takes a field away."""
    body = {name: value for name, value in {**SAY, **fields}.items() if value is not None}
    return client.post("/v1/audio/speech", json=body, headers=headers)


def recording(seconds=2.0, rate=16_000, format="WAV", channels=1, pitch=220, loudness=0.3, **written):
    """The bytes of a tone."""
    time = np.arange(int(seconds * rate)) / rate
    tone = (loudness * np.sin(2 * np.pi * pitch * time)).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone] * channels, axis=1), rate, format=format, **written)
    return buffer.getvalue()


def text(data):
    """As it stands in JSON."""
    return base64.b64encode(data).decode()


def samples(data):
    """The samples of a file, and their rate."""
    return soundfile.read(io.BytesIO(data), dtype="int16")


def events(body):
    """The events of a stream, as pairs of name and data."""
    blocks = [block for block in body.split("\n\n") if block.startswith("event: ")]
    return [(block.split("\n")[0][7:], json.loads(block.split("\n")[1][6:])) for block in blocks]


def heard(body):
    """The samples of a stream of events, and its last event."""
    found = events(body)
    pcm = b"".join(base64.b64decode(data["audio"]) for name, data in found if name == "speech.audio.delta")
    return np.frombuffer(pcm, "<i2"), found[-1]


def loudness(found):
    """The largest sample, of 1."""
    return float(np.abs(found.astype(np.int32)).max()) / 32768


def busy(client):
    """Requests that are in the worker."""
    health = client.get("/health").json()
    return health["queue_depth"] + health["running"]


def metric(client, name):
    """One of the worker's measurements."""
    return client.worker.metrics.registry.get_sample_value(name)


def connect(client, path, body, *, receive_buffer=None):
    """A connection that has sent a request and read nothing of the answer."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((client.base_url.host, client.base_url.port))
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def hang_up_while_it_runs(client, path, body):
    """Ask, wait until the model is at it, and leave."""
    with connect(client, path, body):
        wait_until(lambda: client.get("/health").json()["running"] == 1)
    wait_until(lambda: busy(client) == 0, seconds=10)
