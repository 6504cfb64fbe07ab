# Debian, not Alpine: the wheels of confluent-kafka and numba need glibc.
FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home graft && install -d -o graft -g graft /var/lib/graft
WORKDIR /opt/graft
COPY requirements-run.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY agents agents
COPY benchmarks benchmarks
RUN pip install --no-cache-dir --no-deps .
# Compiled kernels lie beside the state, so that only the first start compiles.
ENV XDG_CACHE_HOME=/var/lib/graft/cache
USER graft
VOLUME /var/lib/graft
ENTRYPOINT ["graft"]
CMD ["run", "-c", "/etc/graft/graft.toml"]
