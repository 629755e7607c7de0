# docker build --target tpu|gpu|cpu -t addsr .
# docker run addsr train --config configs/addsr.py:nano --workdir /runs/addsr
FROM python:3.12-slim AS base
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /addsr_jax
COPY pyproject.toml requirements.txt requirements.lock README.md LICENSE ./
COPY addsr_jax addsr_jax
COPY configs configs
COPY launch launch
ENV ADDSR_CACHE=/cache PYTHONUNBUFFERED=1
VOLUME ["/cache", "/runs"]
ENTRYPOINT ["addsr"]
CMD ["--help"]

FROM base AS tpu
RUN pip install --no-cache-dir '.[train,gcs,tpu]'

FROM base AS gpu
RUN pip install --no-cache-dir '.[train,gcs,cuda]'

FROM base AS cpu
RUN pip install --no-cache-dir '.[train,gcs]'
