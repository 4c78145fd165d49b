/** Results of a made-up run, small enough to know every number that a report may make of them. */
import { type Result, type Results, SCHEMA, type Spread } from "../../bench/results.ts";

/** A spread whose half interquartile range is `relative` of the median. */
export function around(median: number, relative = 0.01, samples = 9): Spread {
  const part = (share: number) => median * (1 + share * relative);
  return { median, min: part(-2), p25: part(-1), p75: part(1), max: part(2), samples };
}

export function row(more: Partial<Result> & Pick<Result, "id">): Result {
  return {
    group: "unet",
    name: "tiny, one evaluation",
    model: "tiny",
    shape: [1, 3, 16, 16],
    dtype: "f32",
    batch: 1,
    engine: "ddim-webgpu",
    status: "ok",
    ms: around(10),
    ...more,
  };
}

export function results(rows: readonly Result[], more: Partial<Results> = {}): Results {
  return {
    schema: SCHEMA,
    command: "ddim bench --quick",
    seconds: 12,
    environment: {
      date: "2026-01-02T03:04:05.000Z",
      version: "0.1.0",
      commit: "abc1234",
      adapter: { name: "Test <GPU>", vendor: "nobody", driver: "1.0", software: false },
      cpu: { model: "Test CPU", cores: 2 },
      memory: 2 ** 33,
      os: "linux 6.1",
      node: "v20.19.0",
      packages: { webgpu: "0.6.2" },
      load: { start: 0.1, end: 2 },
    },
    limits: { copy: 10e9, fma: 100e9 },
    engines: [
      { engine: "ddim-webgpu", version: "0.1.0", settings: { toggles: "release" } },
      { engine: "onnxruntime-cpu", version: "1.30.0", settings: { threads: 2, "memory arena": false } },
      { engine: "torch-eager", settings: {}, missing: "python3 has no torch" },
    ],
    noise: [{ id: "unet/tiny", engine: "ddim-webgpu", ratio: around(1, 0.03) }],
    rows,
    ...more,
  };
}
