# The image of the controller: pinned and hashed dependencies, no compiler, no root.
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
COPY requirements/runtime.txt /requirements.txt
# Wheels only: nothing is compiled here, and what is not in the hashed list is not installed.
RUN ["python", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore", \
     "--require-hashes", "--no-deps", "--only-binary=:all:", "--target=/app", "--requirement=/requirements.txt"]
COPY operator/residency /app/residency
COPY LICENSE /app/LICENSE
# Compiled beforehand, because the container's file system is read-only.
RUN ["python", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode=unchecked-hash", "/app"]

FROM python:${PYTHON}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="residency" \
      org.opencontainers.image.description="Keeps classified workloads on nodes that may hold their data" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /app /app
ENV PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
# The chart runs it as this user too; a number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "-m", "residency"]
CMD ["controller"]
