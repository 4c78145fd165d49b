/** Single operations at the shapes of real UNets. */
import { chained, hasTokens, type KernelSpec, kernelCost } from "./kernelGraph.ts";
import { type Extent, type Item, skipped } from "./workloads.ts";

const TOLERANCE = 1e-9;

const NAMES: Readonly<Record<KernelSpec["op"], string>> = {
  conv3x3: "conv 3×3",
  block: "conv 3×3, GroupNorm, SiLU",
  groupNorm: "GroupNorm, SiLU",
  attention: "attention",
  linear: "linear",
};

/** Operations as the UNets have them; `least` is the extent from which on a software adapter runs it. */
const KERNELS: readonly (readonly [op: KernelSpec["op"], of: string, side: number, channels: number, least: Extent])[] =
  [
    ["conv3x3", "cifar10-32", 32, 128, "quick"],
    ["conv3x3", "cifar10-32", 16, 256, "normal"],
    ["conv3x3", "cin256-v2", 32, 384, "normal"],
    ["conv3x3", "SD 1.5", 64, 320, "full"],
    ["conv3x3", "celebahq-256", 256, 128, "full"],
    ["block", "cifar10-32", 32, 128, "quick"],
    ["block", "cin256-v2", 64, 192, "full"],
    ["groupNorm", "cifar10-32", 32, 128, "quick"],
    ["groupNorm", "SD 1.5", 64, 320, "normal"],
    ["attention", "crawl-tiles-32", 8, 64, "quick"],
    ["attention", "cin256-v2", 32, 64, "quick"],
    ["attention", "celebahq-256", 16, 512, "quick"],
    ["attention", "celebahq-256 at 512", 32, 512, "normal"],
    ["linear", "cifar10-32", 16, 256, "quick"],
    ["linear", "SD 1.5", 64, 320, "normal"],
  ];

export const kernelItems = (extent: Extent, software: boolean): Item[] =>
  KERNELS.map(([op, of, side, channels, least]) => {
    const spec = chained({ op, side, channels });
    const tokens = hasTokens(spec);
    return {
      workload: {
        id: `kernel/${op}/${side}x${side}x${channels}/f32`,
        group: "kernel",
        name: `${NAMES[op]}, ${tokens ? `${side * side} × ${channels}` : `${channels} channels, ${side}×${side}`} (${of})`,
        opClass: op === "conv3x3" ? "conv2d" : op,
        shape: tokens ? [side * side, channels] : [1, channels, side, side],
        dtype: "f32",
        batch: 1,
      },
      cost: kernelCost(spec),
      source: { kind: "kernel", spec },
      tolerance: TOLERANCE,
      skip: skipped(extent, least, software),
    };
  });
