# docker build -t somnia .                                     CPU
# docker build -t somnia --build-arg TORCH=cuda .              CUDA; run it with --gpus all
# docker run --rm -it -v "$PWD/runs:/somnia/exp_local" somnia python quickstart.py
FROM python:3.11-slim

# a software driver for OpenGL: rendering works without a GPU
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri git make g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /somnia
COPY requirements.txt .
ARG TORCH=cpu
# the CPU build of the same version first: the line after it leaves it alone
RUN if [ "$TORCH" = cpu ]; then \
      pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.txt)"; fi \
    && pip install --no-cache-dir -r requirements.txt

COPY . .
ENV MUJOCO_GL=egl PYTHONUNBUFFERED=1
CMD ["python", "doctor.py"]
