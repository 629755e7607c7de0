# docker build --target tpu|gpu|cpu|serve -t addsr .
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

# docker run -p 7860:7860 addsr prints the address of the page; --build-arg EXTRAS=serve,cuda for an NVIDIA GPU
FROM base AS serve
ARG EXTRAS=serve
RUN pip install --no-cache-dir ".[${EXTRAS}]"
EXPOSE 7860
CMD ["serve", "--host", "0.0.0.0"]

FROM base AS cpu
RUN pip install --no-cache-dir '.[train,gcs]'
