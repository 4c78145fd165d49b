/** Single operations at the shapes of real UNets. */
import { chained, type KernelSpec, kernelCost } from "./kernelGraph.ts";
import { BEYOND, type Extent, type Item, runs } from "./workloads.ts";

const TOLERANCE = 1e-9;

/** Operations as the UNets have them; `least` is the extent from which on a software adapter runs it. */
const KERNELS: readonly { name: string; of: string; spec: Omit<KernelSpec, "chain">; least: Extent }[] = [
  { name: "conv 3×3", of: "cifar10-32", spec: { op: "conv3x3", side: 32, channels: 128 }, least: "quick" },
  { name: "conv 3×3", of: "cifar10-32", spec: { op: "conv3x3", side: 16, channels: 256 }, least: "normal" },
  { name: "conv 3×3", of: "cin256-v2", spec: { op: "conv3x3", side: 32, channels: 384 }, least: "normal" },
  { name: "conv 3×3", of: "SD 1.5", spec: { op: "conv3x3", side: 64, channels: 320 }, least: "full" },
  { name: "conv 3×3", of: "celebahq-256", spec: { op: "conv3x3", side: 256, channels: 128 }, least: "full" },
  {
    name: "conv 3×3, GroupNorm, SiLU",
    of: "cifar10-32",
    spec: { op: "block", side: 32, channels: 128 },
    least: "quick",
  },
  {
    name: "conv 3×3, GroupNorm, SiLU",
    of: "cin256-v2",
    spec: { op: "block", side: 64, channels: 192 },
    least: "full",
  },
  { name: "GroupNorm, SiLU", of: "cifar10-32", spec: { op: "groupNorm", side: 32, channels: 128 }, least: "quick" },
  { name: "GroupNorm, SiLU", of: "SD 1.5", spec: { op: "groupNorm", side: 64, channels: 320 }, least: "normal" },
  {
    name: "attention",
    of: "crawl-tiles-32",
    spec: { op: "attention", side: 8, channels: 64, heads: 1 },
    least: "quick",
  },
  { name: "attention", of: "cin256-v2", spec: { op: "attention", side: 32, channels: 64, heads: 1 }, least: "quick" },
  {
    name: "attention",
    of: "celebahq-256",
    spec: { op: "attention", side: 16, channels: 512, heads: 1 },
    least: "quick",
  },
  {
    name: "attention",
    of: "celebahq-256 at 512",
    spec: { op: "attention", side: 32, channels: 512, heads: 1 },
    least: "normal",
  },
  { name: "linear", of: "cifar10-32", spec: { op: "linear", side: 16, channels: 256 }, least: "quick" },
  { name: "linear", of: "SD 1.5", spec: { op: "linear", side: 64, channels: 320 }, least: "normal" },
];

export function kernelItems(extent: Extent, software: boolean): Item[] {
  return KERNELS.map(({ name, of, spec: base, least }) => {
    const spec = chained(base);
    const { op, side, channels } = spec;
    const opClass = {
      conv3x3: "conv2d",
      block: "block",
      groupNorm: "groupNorm",
      attention: "attention",
      linear: "linear",
    }[op];
    const rows = op === "attention" || op === "linear";
    return {
      workload: {
        id: `kernel/${op}/${side}x${side}x${channels}/f32`,
        group: "kernel",
        name: `${name}, ${rows ? `${side * side} × ${channels}` : `${channels} channels, ${side}×${side}`} (${of})`,
        opClass,
        shape: rows ? [side * side, channels] : [1, channels, side, side],
        dtype: "f32",
        batch: 1,
      },
      cost: kernelCost(spec),
      source: { kind: "kernel", spec },
      tolerance: TOLERANCE,
      skip: runs(extent, least, software) ? undefined : BEYOND[extent],
    };
  });
}
