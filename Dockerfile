# rss-env with all extras that commands use, for CPUs or for NVIDIA GPUs: docs/containers.md.
#
#   docker build -t rss-env .
#   docker build -t rss-env:cuda --build-arg DEVICE=cuda .
#
# It runs as any user, also one without a home: nothing is written but where a command is told to,
# and caches into a temporary folder.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG DEVICE=cpu
# Triton compiles what launches its kernels, so on GPUs it needs a compiler of C.
RUN case "$DEVICE" in \
        cpu) ;; \
        cuda) apt-get update \
            && apt-get install -y --no-install-recommends gcc libc6-dev \
            && rm -rf /var/lib/apt/lists/* ;; \
        *) echo "DEVICE must be cpu or cuda, got '$DEVICE'" >&2; exit 2 ;; \
    esac

WORKDIR /opt/rss-env
# PyTorch first, whose layer then stays when the code changes. PyPI's wheels are those for CUDA.
COPY constraints.txt ./
RUN if [ "$DEVICE" = cpu ]; then \
        index="--index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple"; \
    fi; \
    pip install --no-cache-dir torch torchvision -c constraints.txt $index

COPY pyproject.toml README.md LICENSE ./
COPY rss_env rss_env
COPY agents agents
RUN pip install --no-cache-dir ".[pretrained,onnx,video,sb3,live,minari]" -c constraints.txt

# A user whom no list of users has.
USER 10001
WORKDIR /data
CMD ["rss-train", "--help"]
