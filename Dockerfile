# SPDX-License-Identifier: Apache-2.0
# Three images:
#   gpu (default)   on NVIDIA's Triton image with TensorRT-LLM
#                     docker build -t llm-ensemble .
#   vllm            on NVIDIA's Triton image with vLLM
#                     docker build --target vllm -t llm-ensemble:vllm .
#   cpu             on Debian, with OpenVINO GenAI and the demo engine; without torch
#                     docker build --target cpu -t llm-ensemble:cpu .
# Any base with /opt/tritonserver and a Python 3.12 that its Python backend fits will do for gpu, and for vllm, if that
# Python has vLLM.
ARG BASE_IMAGE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3
ARG VLLM_BASE_IMAGE=nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3
ARG CPU_BASE=debian:bookworm-slim
# --build-arg SOURCE=... names the repository that an image was built from, VERSION its release.


# Debian's Python 3.11, and the shared library that Triton's stub loads.
FROM ${CPU_BASE} AS debian
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpython3.11 libstdc++6 python3 zlib1g \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log \
    && useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin llm


FROM debian AS debian-pip
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1


# The demo engine. Building needs torch, whose CPU build PyPI does not have; empty: whatever pip finds by itself.
FROM debian-pip AS demo
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY requirements requirements
RUN python3 -m venv /venv \
    && /venv/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements/build.txt \
    && /venv/bin/pip install --no-deps -r requirements/build-nodeps.txt
COPY llm_ensemble llm_ensemble
COPY build_scripts build_scripts
COPY models/demo models/demo
RUN /venv/bin/python -m build_scripts.build --model models/demo --precision int8 --output /demo \
    && chmod -R a+rX /demo


# What serving imports, and our package, in an environment without pip.
FROM debian-pip AS packages
WORKDIR /build
COPY requirements/image.txt requirements/image.txt
RUN python3 -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-compile --no-deps -r requirements/image.txt
COPY docker/strip.sh docker/strip.sh
RUN docker/strip.sh /opt/venv/lib/python3.11/site-packages
COPY LICENSE README.md pyproject.toml ./
COPY client client
COPY llm_ensemble llm_ensemble
RUN pip --python /opt/venv/bin/python install --no-deps . \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib/python3.11/site-packages


FROM debian AS cpu
ARG VERSION=0.1.0
ARG SOURCE
LABEL org.opencontainers.image.title="llm-ensemble" \
      org.opencontainers.image.description="Triton with OpenVINO GenAI: raw text in, raw text out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=packages /opt/venv /opt/venv
COPY --from=demo /demo /opt/llm-ensemble/demo
COPY LICENSE /opt/llm-ensemble/
COPY build_scripts /opt/llm-ensemble/build_scripts
COPY openai_frontend /opt/llm-ensemble/openai_frontend
COPY serving /opt/llm-ensemble/serving
COPY model_repository /opt/llm-ensemble/model_repository
COPY docker/llm-ensemble /usr/local/bin/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
# Asks /v2/health/ready: that of the ensemble, /v2/models/ensemble/ready, stays 200 when a stage has died.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["llm-ensemble", "health"]
ENTRYPOINT ["llm-ensemble"]
CMD ["serve"]


# What is laid over NVIDIA's images, which have the rest.
FROM scratch AS files
WORKDIR /opt/llm-ensemble
COPY LICENSE README.md pyproject.toml ./
COPY requirements/image.txt requirements/image.txt
COPY docker/add_package.sh docker/add_package.sh
COPY client client
COPY llm_ensemble llm_ensemble
COPY build_scripts build_scripts
COPY openai_frontend openai_frontend
COPY serving serving
COPY model_repository model_repository
COPY docker/llm-ensemble /usr/local/bin/


FROM ${VLLM_BASE_IMAGE} AS vllm
ARG VERSION=0.1.0
ARG SOURCE
LABEL org.opencontainers.image.title="llm-ensemble" \
      org.opencontainers.image.description="Triton with vLLM: raw text in, raw text out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}"
USER root
WORKDIR /opt/llm-ensemble
COPY --from=files / /
RUN docker/add_package.sh && rm -rf docker requirements build *.egg-info client llm_ensemble
# A user without a name would do for serving; torch, when it builds, asks for one.
RUN getent passwd 1000 || useradd --uid 1000 --user-group --no-create-home --home-dir /tmp llm
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
# Loading a large model and compiling its kernels takes minutes; until then, the container is starting and not ill.
HEALTHCHECK --interval=30s --timeout=10s --start-period=15m CMD ["llm-ensemble", "health"]
ENTRYPOINT ["llm-ensemble"]
CMD ["serve"]


FROM ${BASE_IMAGE} AS gpu
ARG VERSION=0.1.0
ARG SOURCE
LABEL org.opencontainers.image.title="llm-ensemble" \
      org.opencontainers.image.description="Triton with TensorRT-LLM: raw text in, raw text out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}"
USER root
WORKDIR /opt/llm-ensemble
COPY --from=files / /
RUN docker/add_package.sh && rm -rf docker requirements build *.egg-info client llm_ensemble
# A user without a name would do for serving; torch, when it builds, asks for one.
RUN getent passwd 1000 || useradd --uid 1000 --user-group --no-create-home --home-dir /tmp llm
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
# Loading a large engine takes minutes; until it is loaded, the container is starting and not ill.
HEALTHCHECK --interval=30s --timeout=10s --start-period=15m CMD ["llm-ensemble", "health"]
ENTRYPOINT ["llm-ensemble"]
CMD ["serve"]
