#!/usr/bin/env bash
# On the machine with the GPU, in the repository's root: bash .gpu/run.sh [stage…]. What is found goes to $OUT/results.jsonl, a
# line of JSON each; everything that is said to $OUT/log.txt; the summary is printed last. A stage that fails or runs out of
# time stops no other. README.md has the stages and the environment.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$PWD
OUT=${OUT:-/tmp/gpu-out}
WORK=${GPU_WORK:-/tmp/gpu}
BUDGET=${GPU_BUDGET:-480}
APP=$WORK/app
mkdir -p "$OUT" "$WORK"
export APP OUT WORK GPU_RESULTS=$OUT/results.jsonl TMPDIR=${TMPDIR:-/tmp} HOME=${HOME:-/tmp} LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 NO_COLOR=1

# 1. Unpack, all at once.
command -v xz >/dev/null || xz() { python3 -c 'import lzma,shutil,sys; shutil.copyfileobj(lzma.open(sys.argv[-1]), sys.stdout.buffer, 1 << 20)' "$@"; }
unpack() { [ ! -f "$HERE/$1.tar.xz" ] || { mkdir -p "$2" && xz -dc "$HERE/$1.tar.xz" | tar -x -C "$2" -f -; }; }
if [ ! -f "$WORK/ready" ]; then
  mkdir -p "$WORK/bin"
  (xz -dc "$HERE/node.xz" >"$WORK/bin/node" && chmod +x "$WORK/bin/node") &
  (unpack app "$APP" && mkdir -p "$APP/bench/peers" && unpack ort "$APP/bench/peers") &
  unpack py "$WORK/py" &
  wait
  for data in test/golden bench/study weights; do ln -sfn "$ROOT/$data" "$APP/$data"; done
  touch "$WORK/ready"
fi
export PATH=$WORK/bin:$PATH
node "$ROOT/scripts/goldens.mjs"
export PYTHONPATH=$WORK/py${PYTHONPATH:+:$PYTHONPATH}

# 2. Vulkan: the loader, NVIDIA's driver, what the driver links.
vulkan() {
  if ! ldconfig -p | grep -q libvulkan.so.1 && [ "$(id -u)" = 0 ]; then
    for deb in "$HERE"/loaders/*.deb; do [ -f "$deb" ] && dpkg -x "$deb" / && echo "unpacked $(basename "$deb")"; done
    ldconfig
  fi
  # X's client libraries stay out of /: only where the driver misses them.
  if [ -f "$(echo "$HERE"/x11/libx11*.deb)" ] && ! ldconfig -p | grep -q libX11.so.6; then
    for deb in "$HERE"/x11/*.deb; do dpkg -x "$deb" "$WORK/x11"; done
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(find "$WORK/x11" -name libX11.so.6 -printf %h -quit)
  fi
  if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
    local icd lib
    icd=$(find /usr/local/nvidia /usr/local /usr/share /etc /opt -name 'nvidia_icd*.json' -print -quit 2>/dev/null)
    lib=$(ldconfig -p | awk '/libGLX_nvidia.so.0/ { print $NF; exit }')
    [ -n "$icd$lib" ] || lib=$(find / -xdev -name libGLX_nvidia.so.0 -print -quit 2>/dev/null)
    if [ -z "$icd" ] && [ -n "$lib" ]; then
      icd=$WORK/nvidia_icd.json
      printf '{"file_format_version":"1.0.1","ICD":{"library_path":"%s","api_version":"1.4.312"}}' "$lib" >"$icd"
    fi
    [ -z "$icd" ] || export VK_DRIVER_FILES=$icd
  fi
  export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$WORK/run}
  # Compiled pipelines are kept between the processes of this run.
  export __GL_SHADER_DISK_CACHE=1 __GL_SHADER_DISK_CACHE_PATH=$WORK/shaders __GL_SHADER_DISK_CACHE_SKIP_CLEANUP=1
  mkdir -p "$XDG_RUNTIME_DIR" "$WORK/shaders" && chmod 700 "$XDG_RUNTIME_DIR"
}
vulkan >"$WORK/vulkan.log" 2>&1

# 3. The stages, in the order of what they decide, with their limits in seconds.
declare -A LIMIT=([doctor]=40 [matrices]=60 [roof]=45 [forward]=100 [kernels]=70 [torch]=60 [ort]=90 [tests]=120 [sample]=40)
STAGES=${*:-doctor matrices roof forward kernels torch ort tests sample}
device() { node --import "$APP/scripts/sources.mjs" "$APP/tools/gpu/device/$1.ts" "${@:2}"; }
doctor() {
  uname -a
  nvidia-smi 2>&1 | head -15
  cat "$WORK/vulkan.log"
  echo "VK_DRIVER_FILES=${VK_DRIVER_FILES:-} VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-}"
  [ ! -f "${VK_DRIVER_FILES:-}" ] || ldd "$(sed -n 's/.*"library_path" *: *"\([^"]*\)".*/\1/p' "$VK_DRIVER_FILES")" 2>&1 | grep 'not found'
  ldd "$APP/node_modules/webgpu/dist/linux-x64/dawn.node" 2>&1 | grep 'not found'
  device adapter || { VK_LOADER_DEBUG=error,warn,driver device adapter 2>&1 | tail -60; return 1; }
  node "$APP/bin/ddim.js" doctor
}
stage() {
  case $1 in
  doctor) doctor ;;
  matrices) GPU_TESTS=test/kernels/matrixUnits.test.ts,test/kernels/batchInvariance.test.ts,test/kernels/conv2d.test.ts GPU_MATRICES=1 device tests ;;
  torch) python3 "$APP/tools/gpu/device/torch_stage.py" "$APP" ;;
  roof | forward | kernels | ort | tests | sample) device "$1" ;;
  *) echo "= there is no stage $1" ;;
  esac
}
export -f device doctor stage
for name in $STAGES; do
  left=$((BUDGET - SECONDS))
  limit=GPU_T_$name
  limit=${!limit:-${LIMIT[$name]:-60}}
  limit=$((limit < left ? limit : left))
  echo ">>> $name" >>"$OUT/log.txt"
  if [ $limit -lt 5 ]; then
    code="not begun, $SECONDS s of $BUDGET were gone"
  else
    began=$SECONDS
    # A process group of its own, so that what a stage leaves behind ends with it.
    GPU_STAGE=$name GPU_LIMIT_S=$((limit - 3)) setsid timeout --kill-after=5 "$limit" bash -c "stage $name" >>"$OUT/log.txt" 2>&1
    code="exit $? after $((SECONDS - began)) s"
  fi
  echo "<<< $name: $code" | tee -a "$OUT/log.txt"
  echo "{\"stage\":\"$name\",\"status\":\"$code\"}" >>"$GPU_RESULTS"
done

# 4. What each found, the first stage last: a caller may see the end alone.
for name in $(printf '%s\n' $STAGES | tac); do
  awk -v from=">>> $name" -v to="<<< $name:" '$0 == from { on = 1; found = 0 } on && (/^= / || index($0, to) == 1) && found++ < 40 { print substr($0, 1, 220) } index($0, to) == 1 { on = 0 }' "$OUT/log.txt"
done
