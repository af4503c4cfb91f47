"""Runs the application behind a real socket in this process, and makes requests and pictures for tests."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time

import httpx
import uvicorn
from PIL import Image

from pixvox_worker.app import create_app
from pixvox_worker.settings import Device, EngineKind, Settings


@contextlib.contextmanager
def serve(model=None, *, engine=None, ready=True, **settings):
    """A client of a worker with `model`, or with the fake engine; `.worker` is what the routes work with."""
    kind = {} if model is not None else {"engine": EngineKind.FAKE}
    name = str(model) if model is not None else "fake-model"
    given = Settings(
        model_name=name, device=Device.CPU, **{"torch_threads": 1, "shutdown_grace": 1.0, **kind, **settings}
    )
    app = create_app(given, engine)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            client.worker = app.state.worker
            if ready:
                wait_until(lambda: client.get("/health").status_code == 200)
            yield client
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition, seconds=30):
    """Ask again and again until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def png(color="red", size=(64, 64), format="PNG", mode="RGB"):
    """The bytes of a plain picture."""
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, format)
    return buffer.getvalue()


def picture(text):
    """The picture in a base64 field."""
    return Image.open(io.BytesIO(base64.b64decode(text)))


def edit(client, *, image=None, headers=None, **options):
    """Send a picture to `/process` as a form."""
    form = {"prompt": "make it blue", "options": json.dumps({"steps": 2, "seed": 1, **options})}
    return client.post("/process", data=form, files={"image": image or png()}, headers=headers)


def draw(client, **fields):
    """Ask for a small picture from a text."""
    body = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 2, "seed": 1, **fields}
    return client.post("/v1/images/generations", json=body)


def events(text):
    """The events of a stream, as pairs of name and data."""
    blocks = [block for block in text.split("\n\n") if block.startswith("event: ")]
    return [(block.split("\n")[0][7:], json.loads(block.split("\n")[1][6:])) for block in blocks]
