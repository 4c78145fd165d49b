/** Exceptions from what callers hand in: they come out as they are, and leave nothing behind. */

import { inspect } from "node:util";
import { makeSchedule, type SampleOptions, sample } from "../../src/index.ts";
import { loadPipeline } from "../../src/node/index.ts";
import type { LoadOptions, PackedStore, Step } from "../../src/pipeline/types.ts";
import { DdimError } from "../../src/runtime/errors.ts";
import { shippedPath, sourceOf } from "../support/models.ts";
import type { MemorySource } from "../weights/memory-source.ts";
import { demand, type Section, settle, type Tried, type Victim } from "./harness.ts";
import { type Job, jobs, Workshop } from "./jobs.ts";
import type { Random } from "./random.ts";

const AVATARS = shippedPath("pixel-avatars-16");

const things: readonly unknown[] = [
  ...[
    new Error("a caller's own"),
    new TypeError("x is not a function"),
    new DOMException("quota", "QuotaExceededError"),
  ],
  ...["text", "", 0, undefined, null, Symbol("s"), Object.create(null), Object.freeze(new Error("frozen"))],
];

/** How often callbacks are called before one throws. */
interface Fuse {
  /** Called by a callback. */
  burn(): void;
  /** The same, some time later. */
  burnLater(): Promise<void>;
}

function fuse(random: Random, thrown: unknown, most: number): Fuse & { burnt: boolean } {
  let left = random.below(most);
  const isAsync = random.chance(0.5);
  const made = {
    burnt: false,
    burn() {
      if (left-- !== 0) return;
      made.burnt = true;
      throw thrown;
    },
    async burnLater() {
      if (isAsync) await new Promise((next) => setTimeout(next, random.below(3)));
      made.burn();
    },
  };
  return made;
}

type Place = (workshop: Workshop, fuse: Fuse, random: Random) => Promise<unknown>;

/** Of runs: each ends for good or with what was thrown. */
const inRun =
  (use: (fuse: Fuse) => object, which: (job: Job) => boolean): Place =>
  async (workshop, fuse, random) => {
    const job = random.pick(jobs.filter(which));
    workshop.demandRight(job, await workshop.run(job, use(fuse)));
  };

const inLoad =
  (use: (fuse: Fuse) => Partial<LoadOptions>): Place =>
  async ({ device }, fuse) => {
    const pipe = await loadPipeline(AVATARS, { device, ...use(fuse), cache: false });
    pipe.dispose();
  };

const inSource =
  (name: "read" | "size" | "exists" | "list"): Place =>
  async ({ device }, fuse) => {
    const source = sourceOf(AVATARS);
    const call = source[name] as (...args: unknown[]) => Promise<unknown>;
    const failing: MemorySource = {
      ...source,
      [name]: async (...args: unknown[]) => {
        await fuse.burnLater();
        return call(...args);
      },
    };
    (await loadPipeline(failing, { device })).dispose();
  };

const sampled =
  (use: (fuse: Fuse) => Partial<SampleOptions>): Place =>
  async ({ device }, fuse) => {
    const schedule = makeSchedule({ steps: 5, eta: 1 });
    const shape = [1, 3, 8, 8] as const;
    await sample({ device, schedule, shape, xT: new Float32Array(192), denoise: (x) => x, ...use(fuse) });
  };

/** A store that has kept a load. */
async function storeOf({ device }: Workshop) {
  const kept = new Map<string, { parts: Uint8Array[]; note: string }>();
  const store: PackedStore = {
    open: async () => undefined,
    async save(key, _sizes, parts, note) {
      const copies: Uint8Array[] = [];
      for await (const part of parts) copies.push(part.slice());
      kept.set(key, { parts: copies, note });
    },
  };
  (await loadPipeline(AVATARS, { device, packed: store })).dispose();
  return { kept, store };
}

const inPacked =
  (name: "open" | "read" | "close"): Place =>
  async (workshop, fuse) => {
    const { kept, store } = await storeOf(workshop);
    const burn = async (at: string) => (at === name ? fuse.burnLater() : undefined);
    const failing: PackedStore = {
      ...store,
      async open(key) {
        await burn("open");
        const { parts = [], note = "" } = kept.get(key) ?? {};
        let next = 0;
        return {
          note,
          async read(target) {
            await burn("read");
            target.set(parts[next++] as Uint8Array);
            return true;
          },
          close: () => burn("close"),
        };
      },
    };
    (await loadPipeline(AVATARS, { device: workshop.device, packed: failing })).dispose();
  };

/** Where it may be tried again: a request that fails once is no failure. */
const repeated = ["fetch"];

const places: Readonly<Record<string, Place>> = {
  onStep: inRun(
    (fuse) => ({ onStep: () => fuse.burn() }),
    ({ hooks }) => hooks !== "none",
  ),
  "a promise of onStep": inRun(
    (fuse) => ({ onStep: () => fuse.burnLater() }),
    ({ hooks }) => hooks !== "none",
  ),
  "onStep, with work on the step": inRun(
    (fuse) => ({
      onStep: async (step: Step) => {
        await Promise.all([step.save(), step.preview()]);
        await fuse.burnLater();
      },
    }),
    ({ hooks }) => hooks !== "none",
  ),
  onBatch: inRun(
    (fuse) => ({ onBatch: () => fuse.burn() }),
    ({ hooks }) => hooks === "all",
  ),
  "a promise of onBatch": inRun(
    (fuse) => ({ onBatch: () => fuse.burnLater() }),
    ({ hooks }) => hooks === "all",
  ),
  "a loop over steps": async ({ pixels }, fuse) => {
    for await (const _ of pixels.steps({ steps: 6, count: 3, batch: 2 })) await fuse.burnLater();
  },
  "a rule": async ({ pixels }, fuse) => {
    const sampler = () => {
      fuse.burn();
      fuse.burn();
      throw new DdimError("a rule without rows");
    };
    await pixels.generate({ steps: 3, sampler });
  },
  onEvaluation: async ({ pixels }, fuse) => {
    const images = { shape: [1, 3, 16, 16], data: new Float32Array(768) };
    await pixels.network.evalTerms(images, { steps: 4, onEvaluation: () => fuse.burn() });
  },
  onProgress: inLoad((fuse) => ({ onProgress: () => fuse.burn() })),
  parseYaml: async ({ device }, fuse) => {
    const source = sourceOf(AVATARS, { "unet/config.json": undefined, "config.yaml": "a: 1" });
    const parseYaml = () => {
      fuse.burn();
      fuse.burn();
      return {};
    };
    (await loadPipeline(source, { device, parseYaml })).dispose();
  },
  "tuning.load": inLoad((fuse) => ({
    tuning: {
      load: async () => {
        await fuse.burnLater();
        return undefined;
      },
    },
  })),
  "packed.open": inPacked("open"),
  "a packed entry's read": inPacked("read"),
  "a packed entry's close": inPacked("close"),
  "packed.save": inLoad((fuse) => ({
    packed: {
      open: async () => undefined,
      save: async (_key: string, _sizes: readonly number[], parts: AsyncIterable<Uint8Array>) => {
        for await (const _ of parts) await fuse.burnLater();
      },
    },
  })),
  "source.read": inSource("read"),
  "source.size": inSource("size"),
  "source.exists": inSource("exists"),
  "source.list": inSource("list"),
  fetch: async ({ device }, fuse) => {
    const files = sourceOf(AVATARS);
    const fetch = async (url: RequestInfo | URL) => {
      await fuse.burnLater();
      const path = new URL(String(url)).pathname.slice(1);
      return (await files.exists(path))
        ? new Response(new Uint8Array(await files.read(path)))
        : new Response("", { status: 404 });
    };
    (await loadPipeline("http://localhost/", { device, fetch: fetch as typeof globalThis.fetch })).dispose();
  },
  "sample's denoise": sampled((fuse) => ({
    denoise: async (x) => {
      await fuse.burnLater();
      return x;
    },
  })),
  "sample's noise": sampled((fuse) => ({
    noise: () => {
      fuse.burn();
      return new Float32Array(192);
    },
  })),
  "sample's onStep": sampled((fuse) => ({ onStep: () => fuse.burn() })),
  "a getter of the options": async ({ pixels }, fuse) => {
    const options = { count: 2, batch: 1 };
    Object.defineProperty(options, "steps", {
      enumerable: true,
      get() {
        fuse.burn();
        return 3;
      },
    });
    await pixels.generate(options);
  },
};

class Thrower implements Victim {
  /** How often each place threw. */
  readonly #burnt = new Map<string, number>();
  #count = 0;
  readonly #names = Object.keys(places);

  constructor(private readonly workshop: Workshop) {}

  async attempt(random: Random): Promise<Tried> {
    const { workshop } = this;
    const name = this.#names[this.#count++ % this.#names.length] as string;
    const thrown = random.pick(things);
    const fuseOf = fuse(random, thrown, random.pick([1, 1, 4, 20]));
    const settled = await settle(() => (places[name] as Place)(workshop, fuseOf, random));
    this.#burnt.set(name, (this.#burnt.get(name) ?? 0) + Number(fuseOf.burnt));
    const what = `${name} threw ${inspect(thrown)}`;
    if ("error" in settled) {
      const { error } = settled;
      const isTyped = error instanceof DdimError && !error.message.startsWith("internal");
      const isOwn = fuseOf.burnt && error === thrown;
      demand(isOwn || isTyped, `${what}: what came is ${inspect(error)}`, error);
      const isKept = isTyped && error.cause === thrown;
      demand(isOwn || isKept || !fuseOf.burnt, `${what}, which is lost`, error);
    } else demand(!fuseOf.burnt || repeated.includes(name), `${what}, and nobody heard of it`);
    workshop.demandIdle(what);
    const job = jobs[0] as Job;
    workshop.demandRight(job, await workshop.run(job));
    return { cut: fuseOf.burnt };
  }

  async end(): Promise<string> {
    const never = this.#names.filter((name) => !this.#burnt.get(name));
    demand(this.#count < 5 * this.#names.length || never.length === 0, `never thrown from: ${never.join(", ")}`);
    return this.workshop.close();
  }
}

export const callbacks: Section = {
  ...{ name: "callbacks", what: "exceptions from all that callers hand in", tries: 200, few: 21 },
  begin: async () => new Thrower(await Workshop.open()),
};
