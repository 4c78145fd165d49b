/**
 * A sample of every kernel table on devices of exactly the specification's default limits, without features: the core
 * level and the compatibility level. `npm run limits` runs all kernel tests on them.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { Graph } from "../../src/kernels/graph.ts";
import { lowerGraph } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { sample } from "../../src/sampler/sample.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { caseName } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { runProblem, useDevice } from "../support/gpu.ts";
import { LEVELS, limitedDevice } from "../support/limits.ts";
import { caseTables } from "../support/problems.ts";

const plain = { shapes: "uniform", storage: "buffer", lanes: 0 } as const;
/** A head that 256 threads would do where there are as many. */
const large = { n: 1, l: 33, heads: 1, d: 260 };

describe.each(LEVELS)("a device of the %s level", (level) => {
  let device: Device;
  const maxThreads = level === "compatibility" ? 128 : 256;
  const targets: Record<string, Target> = {
    direct: { ...plain, software: true, maxThreads },
    gpu: { ...plain, software: false, maxThreads },
  };
  beforeAll(async () => {
    device = await limitedDevice(level);
    useDevice(device);
  });

  it("has the level's limits and no feature", () => {
    expect([...device.gpu.features].filter((it) => it !== "core-features-and-limits")).toEqual([]);
    expect(device.gpu.limits.maxStorageBuffersPerShaderStage).toBe(8);
    expect(targetFor(device)).toMatchObject({ maxThreads, lanes: 0, shapes: "uniform", storage: "buffer" });
  });

  for (const [name, target] of Object.entries(targets))
    for (const [op, { cases, make }] of Object.entries(caseTables)) {
      const some = cases.filter((it, i) => i % 4 === 1 && !("big" in it));
      for (const shape of op === "attention" && level === "compatibility" ? [large, ...some] : some)
        it(`${caseName(op as never, shape as never)}, ${name}`, async () => {
          const problem = make(shape, target, "f32");
          const error = nmse((await runProblem(problem, target, "f32")).data, problem.expected().data);
          expect(error).toBeLessThanOrEqual(1e-10);
        });
    }

  it("samples with a threshold for every image", async () => {
    const shape = [2, 3, 9, 8] as const;
    const xT = Float32Array.from({ length: 432 }, (_, i) => 3 * Math.sin(i * 12.9898));
    const schedule = makeSchedule({ steps: 3, threshold: { ratio: 0.9, max: 2 }, prediction: "sample" });
    const run = () => sample({ denoise: (x) => x.map((v) => v * 1.1), schedule, xT, shape, device });
    const { x } = await run();
    // The same as a GPU's, whose workgroups are as large as the device allows.
    Object.assign(device.capabilities, { software: false });
    expect(targetFor(device)).toMatchObject({ maxThreads, shapes: "const" });
    expect((await run()).x).toEqual(x);
  });
});

it.each([128, 256])("no kernel of a GPU has more than %i threads where there are no more", (maxThreads) => {
  const target: Target = { ...plain, shapes: "const", software: false, maxThreads };
  for (const d of [16, 80, 256, 512]) {
    const graph = new Graph("f32", "buffer");
    const x = graph.value("x", [8, 8, d * 3]);
    const init = { q: x, kv: x, heads: 1, headDim: d, kGroup: d / 4, vGroup: d / 2 };
    graph.output(graph.attention("a", init));
    const [call] = lowerGraph(graph, target).calls;
    expect(Number(/workgroup_size\((\d+)\)/.exec(call?.source ?? "")?.[1])).toBeLessThanOrEqual(maxThreads);
  }
});
