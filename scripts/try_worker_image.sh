#!/bin/sh
# Run the steps of the Dockerfile's worker images in a scratch folder, on the processor: their lock files beside a torch must
# carry the worker. Then start it with a tiny model of each kind and have it work.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
worker=
leave() {
    test -z "$worker" || kill "$worker" 2>/dev/null || true
    rm -rf "$folder"
}
trap leave EXIT
pip_options="--quiet --disable-pip-version-check"
torch=$(sed -n 's/^ARG TORCH="\(.*\)"$/\1/p' Dockerfile)
mkdir "$folder/source"
cp -r src/pixvox_worker "$folder/source/"
export PYTHONPATH="$folder/source" HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 DEVICE=cpu PYTHONUNBUFFERED=1

# A folder and the lock files that go into it after torch; pip's check is before the last of several.
install() {
    app=$1
    shift
    python3 -m venv "$app"
    "$app/bin/pip" install $pip_options "$torch"
    for lock; do
        "$app/bin/pip" install $pip_options --require-hashes --no-deps --requirement "$root/requirements/$lock"
        test "$lock" != "$1" || "$app/bin/pip" check
    done
    if "$app/bin/pip" freeze | grep -i '^pixvox\|^grpcio'; then
        echo "packages of the gateway are in the worker's image"
        exit 1
    fi
}

# Start the worker with a model, wait until it is ready by the command of the image's HEALTHCHECK, and leave it running.
start() {
    export MODEL_NAME=$2 PORT=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
    HOST=127.0.0.1 "$1/bin/python" -m pixvox_worker >"$folder/log" 2>&1 &
    worker=$!
    until "$1/bin/python" -c "$(sed -n 's/^ *CMD \["python", "-c", "\(.*\)"\]$/\1/p' Dockerfile)" 2>/dev/null; do
        kill -0 "$worker" || { cat "$folder/log"; exit 1; }
        sleep 0.5
    done
}

# SIGTERM as Docker sends it must end it, and well.
stop() {
    kill "$worker"
    wait "$worker" || test $? = 143
    worker=
}

install "$folder/app" worker.txt
"$folder/app/bin/python" -m pixvox_worker.tiny qwen-image "$folder/models/qwen-image" 2>/dev/null
start "$folder/app" "$folder/models/qwen-image"
"$folder/app/bin/python" - <<'PYTHON' || { cat "$folder/log"; exit 1; }
import base64
import io
import json
import os
import urllib.request

from PIL import Image

body = json.dumps({"prompt": "a cat", "size": "64x64", "num_inference_steps": 2, "seed": 1}).encode()
url = f"http://127.0.0.1:{os.environ['PORT']}/v1/images/generations"
with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
    picture = Image.open(io.BytesIO(base64.b64decode(json.load(answer)["data"][0]["b64_json"])))
assert picture.size == (64, 64), picture.size
print("the worker has made a picture")
PYTHON
stop
echo "the steps of the worker's image work: $(du -sm "$folder/app" | cut -f1) MB installed"
rm -rf "$folder/app"

install "$folder/app" worker-speech.txt worker-speech-no-deps.txt
"$folder/app/bin/python" -m pixvox_worker.tiny qwen3-tts-custom-voice "$folder/models/qwen3-tts" >/dev/null 2>&1
start "$folder/app" "$folder/models/qwen3-tts"
"$folder/app/bin/python" - <<'PYTHON' || { cat "$folder/log"; exit 1; }
import io
import json
import os
import urllib.request

import soundfile

url = f"http://127.0.0.1:{os.environ['PORT']}/v1/audio/"
with urllib.request.urlopen(url + "voices") as answer:
    voice = json.load(answer)["voices"][0]
body = json.dumps({"input": "A lighthouse at dusk.", "voice": voice, "max_new_tokens": 8, "seed": 1}).encode()
with urllib.request.urlopen(urllib.request.Request(url + "speech", body, {"Content-Type": "application/json"})) as answer:
    samples, rate = soundfile.read(io.BytesIO(answer.read()))
assert rate == 24000, rate
assert abs(samples).max() > 0.001, "silence"
print(f"the worker has spoken for {len(samples) / rate:.2f} s")
PYTHON
stop
echo "the steps of the speech worker's image work: $(du -sm "$folder/app" | cut -f1) MB installed"
