# The server image: what requirements/server.txt pins, the wheel of this checkout, and fonts. No GPL code: espeak-ng is
# an extra of the development install, so the sandbox provider has no speech here.
#
#   docker build -t pixvox .
#   docker run --rm -p 50051:50051 -p 8080:8080 pixvox
#
# More scripts for the sandbox's pictures (70 MB more to load):
#   docker build --build-arg FONTS="fonts-noto-core fonts-noto-cjk" -t pixvox .
#
# scripts/try_image.sh runs the same steps in a scratch folder, for machines where Docker is not running.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements requirements
RUN python -m venv /app && /app/bin/pip install --require-hashes --requirement requirements/server.txt
RUN python -m venv tools && tools/bin/pip install --require-hashes --requirement requirements/build.txt
COPY LICENSE README.md pyproject.toml ./
COPY src src
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    /app/bin/pip install --no-deps --no-index dist/*.whl && \
    /app/bin/pip check && \
    /app/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
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
