# The images of the gateway (the default) and of the worker.
#
#   docker build -t pixvox .
#   docker run --rm -p 50051:50051 -p 8080:8080 pixvox
#
#   docker build --target worker -t pixvox-worker .                  # pictures, on a GPU
#   docker build --target worker-speech -t pixvox-worker-speech .    # speech, on a GPU
#   docker build --target worker-cpu -t pixvox-worker-cpu .          # tiny models, anywhere
#
# docs/deploy.md tells how to run them. scripts/try_image.sh and scripts/try_worker_image.sh take the same steps in a scratch
# folder, for machines where Docker is not running.

# The published wheels of torch bring CUDA along, so that the base needs Python alone, and the host the driver. TORCH is what pip
# is asked for: another release, or "torch @ ADDRESS" of a wheel that is smaller, for machines without a GPU, or for another
# CUDA. A CUDA image as WORKER_BASE, one of Debian or Ubuntu with Python 3.11 and venv, has the compiler that COMPILE=true needs.
ARG WORKER_BASE=python:3.11-slim-bookworm

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements/server.txt requirements/build.txt requirements/
RUN python -m venv /app && /app/bin/pip install --require-hashes --requirement requirements/server.txt
RUN python -m venv tools && tools/bin/pip install --require-hashes --requirement requirements/build.txt
COPY LICENSE README.md pyproject.toml ./
COPY src/pixvox src/pixvox
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    /app/bin/pip install --no-deps --no-index dist/*.whl && \
    /app/bin/pip check && \
    /app/bin/pip uninstall --yes pip setuptools

FROM ${WORKER_BASE} AS worker-torch
ARG TORCH="torch==2.13.0"
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /app && /app/bin/pip install "$TORCH"
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/pixvox pixvox && \
    install --directory --owner=pixvox --group=pixvox /cache
# The two of NVIDIA tell its container runtime to hand the GPU and its driver in.
ENV PATH=/app/bin:$PATH PYTHONPATH=/app/source PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 HF_HOME=/cache/huggingface \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /var/lib/pixvox
VOLUME /cache
EXPOSE 8000
# A real model takes minutes to load, and minutes more to come the first time.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]
# One process, and the first: SIGTERM reaches it, and what has begun is finished within SHUTDOWN_GRACE.
ENTRYPOINT ["python", "-m", "pixvox_worker"]

FROM worker-torch AS worker-speech
COPY requirements/worker-speech.txt requirements/worker-speech-no-deps.txt /tmp/requirements/
# qwen-tts asks for packages that only its demo needs; so it comes after the check.
RUN /app/bin/pip install --require-hashes --no-deps --requirement /tmp/requirements/worker-speech.txt && \
    /app/bin/pip check && \
    /app/bin/pip install --require-hashes --no-deps --requirement /tmp/requirements/worker-speech-no-deps.txt
COPY src/pixvox_worker /app/source/pixvox_worker
ENV MODEL_NAME=Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice
USER pixvox

FROM worker-torch AS worker-packages
COPY requirements/worker.txt /tmp/requirements/
RUN /app/bin/pip install --require-hashes --no-deps --requirement /tmp/requirements/worker.txt && /app/bin/pip check
COPY src/pixvox_worker /app/source/pixvox_worker

# Pipelines with random weights of about a megabyte each, to try everything but the pictures themselves.
FROM worker-packages AS worker-cpu
RUN for kind in $(python -c "from pixvox_worker.tiny import KINDS; print(*KINDS)"); do \
        python -m pixvox_worker.tiny "$kind" "/models/$kind" || exit 1; \
    done
ENV DEVICE=cpu HF_HUB_OFFLINE=1 MODEL_NAME=/models/qwen-image-2.1
USER pixvox

FROM worker-packages AS worker
# What only CUDA has a use for, such as bitsandbytes.
ARG EXTRA_PACKAGES=""
RUN if [ -n "$EXTRA_PACKAGES" ]; then /app/bin/pip install --no-deps $EXTRA_PACKAGES; fi
ENV MODEL_NAME=Qwen/Qwen-Image-Edit
USER pixvox

# The gateway: what requirements/server.txt pins, the wheel of this checkout, and fonts. No GPL code: espeak-ng is an extra of
# the development install, so the sandbox provider has no speech here. More scripts for the sandbox's pictures (70 MB more to
# load): --build-arg FONTS="fonts-noto-core fonts-noto-cjk"
FROM python:3.11-slim-bookworm AS gateway
ARG FONTS="fonts-dejavu-core"
RUN if [ -n "$FONTS" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends $FONTS && rm -rf /var/lib/apt/lists/*; \
    fi
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/pixvox pixvox
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
USER pixvox
WORKDIR /var/lib/pixvox
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["pixvox", "health"]
ENTRYPOINT ["pixvox"]
CMD ["serve", "--listen", "0.0.0.0:50051", "--http", "0.0.0.0:8080"]
