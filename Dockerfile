# The service alone; the built-in agent (with espeak-ng, GPL-3.0) comes in by --build-arg REQUIREMENTS=agent.
# What runs for every packet is compiled (docs/performance.md); --build-arg COMPILE=0 leaves it as it is.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
ARG REQUIREMENTS=serve COMPILE=1
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && python -m venv /opt/sipbridge && /opt/sipbridge/bin/pip install --require-hashes -r requirements/${REQUIREMENTS}.txt
COPY . .
RUN SIPBRIDGE_COMPILE=${COMPILE} /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/sipbridge/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /opt/sipbridge/bin/pip uninstall --yes pip

FROM python:3.13-slim
# For callers who speak Opus.
RUN apt-get update && apt-get install --yes --no-install-recommends libopus0 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sipbridge
COPY --from=build /opt/sipbridge /opt/sipbridge
ENV PATH=/opt/sipbridge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 5060/udp 5060/tcp 5061/tcp 8080/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["sipbridge", "healthcheck"]
# Reads /etc/sipbridge/sipbridge.yaml when it is there; without it OPENAI_API_KEY alone is enough.
ENTRYPOINT ["sipbridge"]
CMD ["serve"]
