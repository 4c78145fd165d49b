#!/usr/bin/env bash
# rehearse.sh PROJECT [stage…]: run.sh as the machine with the GPU would run it, here, in small sizes on Mesa's software adapter:
# a copy of the working tree in an overlay of / without node, npm, the Vulkan loader and diffusers, an empty environment, no
# network. As root; needs unshare and overlayfs. What is written there goes with it, but for GPU_LOGS (/tmp/gpu-rehearsal).
set -euo pipefail
PROJECT=$(cd "$1" && pwd)
shift
[ -d "$PROJECT/.gpu" ] || { echo "pack.sh first" >&2; exit 1; }
BASE=$(mktemp -d)
trap 'rm -rf "$BASE"' EXIT
SITE=$(python3 -c "import sysconfig; print(sysconfig.get_path('purelib'))")
BIN=$(dirname "$(python3 -c "import os, sys; print(os.path.realpath(sys.executable))")")
export BASE PROJECT SITE BIN LOGS=${GPU_LOGS:-/tmp/gpu-rehearsal}
unshare -m -n bash -euc '
  mount -t tmpfs -o size=6G tmpfs "$BASE"
  R=$BASE/root
  mkdir -p "$BASE"/{upper,work} "$R"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$R"
  mount -t proc proc "$R/proc"
  mount --rbind /dev "$R/dev"
  rm -rf "$R"/usr/{,local/}bin/{node,npm,npx,corepack} "$R"/usr/lib/node_modules "$R"/usr/lib/x86_64-linux-gnu/libvulkan.so*
  for site in "$R$SITE" "$R"/usr/lib/python3/dist-packages; do rm -rf "$site"/{diffusers,onnxruntime,importlib_metadata}{,-*}; done
  mkdir -p "$R"/srv/{repo,out}
  (cd "$PROJECT" && git ls-files -z -co --exclude-standard | tar --null -T - -cf - --ignore-failed-read 2>/dev/null) | tar -xf - -C "$R/srv/repo"
  cp -r "$PROJECT/.gpu" "$R/srv/repo/.gpu"
  chroot "$R" /sbin/ldconfig
  chroot "$R" /usr/bin/env -i PATH="$BIN:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/srv OUT=/srv/out GPU_WORK=/srv/gpu GPU_REHEARSE=1 GPU_BUDGET=${GPU_BUDGET:-900} VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json bash -c "cd /srv/repo && bash .gpu/run.sh $*"
  rm -rf "$LOGS" && cp -r "$R/srv/out" "$LOGS"
' _ "$@"
echo "logs: $LOGS"
