# One image for the API (the default command), the worker and all other commands of manage.py. It writes nothing but
# /var/lib/jobapi and /tmp: run it with a read-only root. Name a digest in PYTHON_IMAGE to build the same again.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt .
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --only-binary :all: --require-hashes --requirement requirements.txt
WORKDIR /srv/jobapi
COPY . .
RUN python -m compileall -q /srv/jobapi

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="jobapi" \
    org.opencontainers.image.description="A job-processing API: submit over HTTP, run newest first, watch from a dashboard" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    DD_VERSION=${VERSION} \
    VAR_DIR=/var/lib/jobapi \
    HOST=0.0.0.0 \
    PORT=8000
RUN python -m pip uninstall --yes --quiet --root-user-action ignore setuptools wheel pip \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/jobapi
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/jobapi /srv/jobapi
WORKDIR /srv/jobapi
USER 10001:10001
EXPOSE 8000
VOLUME /var/lib/jobapi
# Of the API: without Django, for it runs often. Orchestrators ask for themselves; workers have none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-S", "-c", "import os, http.client; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/livez', headers={'Host': 'localhost'}); raise SystemExit(c.getresponse().status >= 500)"]
ENTRYPOINT ["python", "manage.py"]
CMD ["api"]
