# The worker. Torch is not in this image: no family of this version needs it.
FROM python:3.11-slim AS build
WORKDIR /src
# the index to install from, for those who build behind a mirror; empty is pip's default
ARG PIP_INDEX_URL=""
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY adaptive_stream ./adaptive_stream
RUN python -m venv /opt/adaptive-stream \
 && PIP_INDEX_URL="${PIP_INDEX_URL}" /opt/adaptive-stream/bin/pip install --no-cache-dir -c constraints.txt '.[worker]'

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin adaptive
COPY --from=build /opt/adaptive-stream /opt/adaptive-stream
ENV PATH=/opt/adaptive-stream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8080
# the root file system may be read-only: the worker writes to Kafka and nowhere else
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["adaptive-stream"]
CMD ["run", "--config", "/etc/adaptive-stream/worker.yaml"]
