#!/bin/sh
# Run the steps of the Dockerfile in a scratch folder: the server's lock file alone must carry the service.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pip_options="--quiet --disable-pip-version-check"

python3 -m venv "$folder/app"
"$folder/app/bin/pip" install $pip_options --require-hashes --requirement requirements/server.txt
python3 -m venv "$folder/tools"
"$folder/tools/bin/pip" install $pip_options --require-hashes --requirement requirements/build.txt
"$folder/tools/bin/pip" wheel $pip_options --no-deps --no-build-isolation --wheel-dir "$folder/dist" .
"$folder/app/bin/pip" install $pip_options --no-deps --no-index "$folder"/dist/*.whl
"$folder/app/bin/pip" check
"$folder/app/bin/pip" uninstall $pip_options --yes pip setuptools

cd "$folder"
app/bin/python - <<'PYTHON'
import importlib.resources
import importlib.util

import pixvox

package = importlib.resources.files("pixvox")
assert package.joinpath("py.typed").is_file(), "py.typed is not in the wheel"
assert package.joinpath("v1/pixvox.binpb").is_file(), "the descriptor set is not in the wheel"
for absent in ("espeakng_loader", "grpc_tools", "pytest"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is in the server install"
print("imported", pixvox.__name__, "from the server install")
PYTHON
# What is in the image serves, and passes the smoke list without speech.
app/bin/pixvox serve --listen 127.0.0.1:0 --http 127.0.0.1:0 2>service.log &
service=$!
trap 'kill $service 2>/dev/null || true; rm -rf "$folder"' EXIT
target=
while [ -z "$target" ]; do
    kill -0 $service
    sleep 0.1
    target=$(sed -n 's/.*"listen": "\([^"]*\)".*/\1/p' service.log)
done
app/bin/pixvox smoke --target "$target"
kill $service
wait $service
trap 'rm -rf "$folder"' EXIT
echo "the steps of the Dockerfile work: $(du -sm app | cut -f1) MB installed"
