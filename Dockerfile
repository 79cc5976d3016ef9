FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=settings.base \
    VAR_DIR=/var/lib/jobapi \
    HOST=0.0.0.0 \
    PORT=8000
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/jobapi
COPY --from=build /opt/venv /opt/venv
COPY . /srv/jobapi
WORKDIR /srv/jobapi
USER 10001:10001
EXPOSE 8000
VOLUME /var/lib/jobapi
CMD ["python", "manage.py", "api"]
