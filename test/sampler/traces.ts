/** Reads the sampler traces of test/golden/schedulers and evaluates the closed-form networks they were made with. */
import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../golden/schedulers/", import.meta.url);

export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, folder), "utf8")) as T;
}

export function goldenNames(subfolder: string, prefix: string): string[] {
  return readdirSync(new URL(subfolder, folder))
    .filter((name) => name.startsWith(prefix) && name.endsWith(".json"))
    .map((name) => subfolder + name);
}

/** A safetensors file's tensors, flat and widened to float64. */
export function tensors(name: string): Record<string, Float64Array> {
  const bytes = readFileSync(new URL(name, folder));
  const header = Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...described } = JSON.parse(bytes.subarray(8, 8 + header).toString());
  const read: Record<string, (v: ArrayBuffer) => Float64Array> = {
    F32: (v) => Float64Array.from(new Float32Array(v)),
    F64: (v) => new Float64Array(v),
    I64: (v) => Float64Array.from(new BigInt64Array(v), Number),
  };
  return Object.fromEntries(
    Object.entries<{ dtype: string; data_offsets: number[] }>(described).map(([key, { dtype, data_offsets }]) => {
      const [from, to] = data_offsets.map((o) => o + 8 + header);
      return [key, read[dtype]!(new Uint8Array(bytes.subarray(from, to)).buffer)];
    }),
  );
}

export const networks: Record<string, (x: number, t: number) => number> = {
  a: (x, t) => (x * t) / (t + 1),
  b: (x, t) => Math.tanh(0.7 * x + 0.3 * Math.sin(0.01 * t)),
};

/** The traces' noise of step i, n numbers. */
export function formulaNoise(i: number, n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, j) => {
    return Math.SQRT2 * Math.sin(0.7 * (j + 1) + 1.1 * (i + 1) + 0.05 * (i + 1) * (j + 1));
  });
}

/** max |u - v| / max(1, max |v|) */
export function deviation(u: ArrayLike<number>, v: ArrayLike<number>): number {
  if (u.length !== v.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let scale = 1;
  for (let i = 0; i < u.length; i++) {
    // A NaN must not pass as a small difference.
    const d = Math.abs(u[i]! - v[i]!);
    difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(difference, d);
    scale = Math.max(scale, Math.abs(v[i]!));
  }
  return difference / scale;
}
