/** Calls on pipelines whose results are known to the last bit, of all kinds. */
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, Generation, Tensor } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
import { testDevice } from "../support/gpu.ts";
import { latentModel } from "../support/latents.ts";
import { load, shippedPath } from "../support/models.ts";
import { demand } from "./harness.ts";

export interface Hooks extends Pick<GenerateOptions, "signal" | "onStep" | "onBatch" | "resume"> {}

type Arrays = readonly ArrayBufferView[];

export interface Job {
  readonly name: string;
  readonly model: "pixels" | "latents";
  /** Which hooks it takes beside a signal: of a sampling run all, of other runs onStep. */
  readonly hooks: "all" | "steps" | "none";
  run(pipe: DiffusionPipeline, hooks: Hooks): Promise<Arrays>;
}

/** Numbers that are the same each time. */
const waves = (...shape: number[]): Tensor => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 0.7) * 0.9),
});

export const arraysOf = ({ samples, latents, images }: Generation): Arrays => [
  samples.data,
  ...(latents ? [latents.data] : []),
  ...images.map(({ data }) => data),
];

const generate = (name: string, model: Job["model"], options: GenerateOptions): Job => ({
  ...{ name, model, hooks: "all" },
  run: async (pipe, hooks) => arraysOf(await pipe.generate({ ...options, ...hooks })),
});

const base = { steps: 6, seed: 7, count: 3, batch: 2 };
const classes = [1];
const known = waves(1, 3, 16, 16);
const mask = { shape: [1, 1, 16, 16], data: Float32Array.from({ length: 256 }, (_, i) => i % 2) };
const inputs = { sample: waves(2, 3, 16, 16), timestep: [500], classLabels: [1, 2] };
const few = { steps: 4, classes };
const size = { height: 32, width: 32 };

type Run = (pipe: DiffusionPipeline, hooks: Hooks) => Promise<Arrays>;
const pixels = (name: string, hooks: Job["hooks"], run: Run): Job => ({ name, model: "pixels", hooks, run });

export const jobs: readonly Job[] = [
  generate("generate", "pixels", { ...base, eta: 1 }),
  generate("generate with guidance", "pixels", { ...base, guidance: [2, 1], guidanceInterval: [100, 900], count: 4 }),
  generate("generate by dpmpp2m", "pixels", { ...base, sampler: "dpmpp2m", rng: "torch" }),
  generate("generate by plms", "pixels", { ...base, sampler: "plms", statistics: true }),
  generate("paint", "pixels", {
    ...{ ...base, count: 2, batch: 1, eta: 0.5 },
    inpaint: { known: waves(2, 3, 16, 16), mask, repaint: { jump: 2, resamples: 2 } },
  }),
  generate("generate latents", "latents", { ...base, size, eta: 0.5 }),
  pixels("invert", "steps", async (pipe, hooks) => [(await pipe.invert(known, { ...few, ...hooks })).latents.data]),
  pixels("reconstruct", "steps", async (pipe, hooks) =>
    arraysOf((await pipe.reconstruct(known, { ...few, convention: "exact", ...hooks })).generation),
  ),
  pixels("interpolate", "steps", async (pipe, hooks) =>
    arraysOf(await pipe.interpolate([1, 2], { ...few, n: 3, ...hooks })),
  ),
  pixels("fuse", "steps", async (pipe, hooks) => arraysOf(await pipe.fuse(known, known, { ...few, ...hooks }))),
  pixels("edit", "steps", async (pipe, hooks) =>
    arraysOf(await pipe.edit(known, { ...few, seed: 3, mask, repaint: { jump: 2, resamples: 2 }, ...hooks })),
  ),
  pixels("forward", "none", async (pipe, { signal }) => [(await pipe.network.forward(inputs, { signal })).data]),
  pixels("taps", "none", async (pipe, { signal }) => {
    const { output, taps } = await pipe.network.taps(inputs, { modules: ["mid_block.resnets.0"], signal });
    return [output, ...Object.values(taps)].map(({ data }) => data);
  }),
  pixels("evalTerms", "none", async (pipe, { signal }) => {
    const terms = await pipe.network.evalTerms(known, { ...few, signal });
    return [Buffer.from(JSON.stringify(terms))];
  }),
  {
    ...{ name: "encode and decode", model: "latents", hooks: "none" },
    run: async (pipe, { signal }) => {
      const codes = await pipe.encode(waves(2, 3, 32, 32), { signal });
      return [codes.data, (await pipe.decode(codes, { signal })).data];
    },
  },
];

const bytes = (view: ArrayBufferView) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);

export const areEqual = (a: Arrays, b: Arrays): boolean =>
  a.length === b.length && a.every((view, i) => bytes(view).equals(bytes(b[i] as ArrayBufferView)));

export type Pipes = Readonly<Record<Job["model"], DiffusionPipeline>>;

/** Both models on one device, what is on it while nothing is done, and the right results. */
export class Workshop {
  readonly #right = new Map<Job, { arrays: Arrays; ms: number }>();

  private constructor(
    readonly device: Device,
    private pipes: Pipes,
    private idle: { liveBytes: number; liveObjects: number },
  ) {}

  static async open(): Promise<Workshop> {
    const device = await testDevice();
    const workshop = new Workshop(device, await loadPipes(), { liveBytes: 0, liveObjects: 0 });
    for (const job of jobs) {
      // Once more for the time, as the first run compiles.
      await workshop.run(job);
      const began = performance.now();
      workshop.#right.set(job, { arrays: await workshop.run(job), ms: performance.now() - began });
    }
    workshop.idle = workshop.#counted;
    return workshop;
  }

  get #counted() {
    const { liveBytes, liveObjects } = this.device.counters;
    return { liveBytes, liveObjects };
  }

  run(job: Job, hooks: Hooks = {}): Promise<Arrays> {
    return job.run(this.pipes[job.model], hooks);
  }

  get pixels(): DiffusionPipeline {
    return this.pipes.pixels;
  }

  /** Milliseconds that a job takes undisturbed. */
  ms(job: Job): number {
    return this.#right.get(job)?.ms ?? 0;
  }

  /** @throws Finding */
  demandRight(job: Job, arrays: Arrays): void {
    const right = this.#right.get(job)?.arrays ?? [];
    demand(areEqual(arrays, right), `${job.name}: the result is another than that of an undisturbed call`);
  }

  /** @throws Finding where a call has left something on the device, or broken it */
  demandIdle(after: string): void {
    const [now, { liveBytes, liveObjects }] = [this.#counted, this.idle];
    // Of what is left no later try is told.
    this.idle = now;
    const isSame = now.liveBytes === liveBytes && now.liveObjects === liveObjects;
    demand(
      isSame,
      `${after}: ${now.liveBytes} bytes in ${now.liveObjects} objects, not ${liveBytes} in ${liveObjects}`,
    );
    this.device.check();
  }

  /** The same models anew. @throws Finding where the old ones have left something */
  async reload(): Promise<void> {
    this.#disposePipes();
    this.pipes = await loadPipes();
    for (const job of jobs) if (job.model === "latents") await this.run(job);
  }

  #disposePipes(): void {
    for (const pipe of Object.values(this.pipes)) pipe.dispose();
    const { liveBytes, liveObjects } = this.#counted;
    demand(liveBytes === 0 && liveObjects === 0, `${liveBytes} bytes in ${liveObjects} objects after dispose`);
  }

  /** @throws Finding where not all of the device is free in the end */
  close(): string {
    this.#disposePipes();
    return "0 bytes left on the GPU";
  }
}

async function loadPipes(): Promise<Pipes> {
  const pixels = await load(shippedPath("pixel-avatars-16"));
  return { pixels, latents: await load(latentModel("ddpm", "vq")) };
}
