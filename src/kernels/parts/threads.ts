/**
 * Kernels whose threads know nothing of each other, in the one way that is always right, and the work of kernels by what
 * there is of it. Both count by names of dimensions: "N H W C4" is their product, N the batch.
 */
import {
  type Codegen,
  type Cost,
  type Dims,
  type Flags,
  linearGrid,
  type Target,
  type Variant,
} from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";

const amount = (d: Dims, batch: number, names: string): number =>
  names.split(" ").reduce((product, name) => product * (name === "N" ? batch : (d[name] as number)), 1);

/** The cost of a kernel that does the same for each of them. */
export const costOf =
  (names: string, { flops, bytes }: Cost) =>
  (d: Dims, batch: number): Cost => ({
    flops: flops * amount(d, batch, names),
    bytes: bytes * amount(d, batch, names),
  });

interface Threads<F extends Flags> {
  readonly workgroup?: Variant<F>["workgroup"];
  /** WGSL of what `body` calls. */
  readonly functions?: (k: Codegen<F>) => string;
  readonly body: (k: Codegen<F>) => string;
}

export const fewThreads = ({ software }: Pick<Target, "software">): number => (software ? 32 : 64);

/** Signature of `main` for threads in one line; {@link LINE_INDEX} is a thread's number. */
export const mainInLine = (workgroup: number): string => `const WG = ${workgroup}u;
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32)`;
export const LINE_INDEX = "(wg.y * groups.x + wg.x) * WG + thread";

/** A thread for each, in one line, `i` its number. Folded into two axes, because one axis ends at 65,535 workgroups. */
export const inLine = <F extends Flags>(
  names: string,
  { workgroup = fewThreads, functions = () => "", body }: Threads<F>,
): [Variant<F>] => [
  {
    name: "direct",
    workgroup,
    grid: (d, batch, wg) => linearGrid(amount(d, batch, names), wg),
    wgsl: (k) => wgsl`
${k.header}
${functions(k)}
${mainInLine(k.workgroup)} {
  ${k.prelude}
  let i = ${LINE_INDEX};
  if (i >= ${names.replaceAll(" ", " * ")}) { return; }
  ${body(k)}
}`,
  },
];

/** A thread for each of `x` on each of `y`, and where there are several on each of `z`: `id` tells which. */
export const inGrid = <F extends Flags>(
  [x, y, z]: readonly [x: string, y: string, z?: string],
  { workgroup = fewThreads, functions = () => "", body }: Threads<F>,
): [Variant<F>] => [
  {
    name: "direct",
    workgroup,
    grid: (d, batch, wg) => [ceilDiv(amount(d, batch, x), wg), amount(d, batch, y), z ? amount(d, batch, z) : 1],
    wgsl: (k) => wgsl`
${k.header}
${functions(k)}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= ${x.replaceAll(" ", " * ")}) { return; }
  ${body(k)}
}`,
  },
];
