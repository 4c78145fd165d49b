/** What is measured: operations, network evaluations, whole runs of the sampler, growth. */
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package.ts";
import type { ImageSize } from "../../src/network/configReader.ts";
import type { Cost } from "../../src/runtime/kernel.ts";
import type { Dtype, Workload } from "../results.ts";
import type { KernelSpec } from "./kernelGraph.ts";
import { networkCost, openModelRef, widenModel } from "./models.ts";
import type { ModelRef } from "./protocol.ts";

/** quick: minutes on two cores with a software adapter. full: everything, where it may take hours. */
export type Extent = "quick" | "normal" | "full";

export interface Item {
  readonly workload: Workload;
  readonly cost?: Cost;
  readonly source:
    | { readonly kind: "kernel"; readonly spec: KernelSpec }
    | {
        readonly kind: "network" | "sampler";
        readonly model: ModelRef;
        readonly size: ImageSize;
        readonly tokens?: number;
      };
  /** Most that a result may differ from the reference engine's (NMSE). */
  readonly tolerance: number;
  /** Why it is not run. */
  readonly skip?: string;
  /** Axes of growth that this measurement is a point of too. */
  readonly axes?: readonly NonNullable<Workload["axis"]>[];
}

const SHIPPED = ["pixel-avatars-16", "crawl-tiles-32"] as const;
export const isShipped = (model: string | undefined) => (SHIPPED as readonly (string | undefined)[]).includes(model);
/** Of the first shipped model: side of its images, channels of its first level. */
const BASE_SIDE = 16;
const BASE_CHANNELS = 32;
const TOLERANCE = { network: { f32: 1e-9, f16: 1e-3 }, sampler: 1e-6 };
const BEYOND: Readonly<Record<Extent, string>> = {
  quick: "left out by --quick",
  normal: "takes minutes on a software adapter: --full runs it",
  full: "",
};

const EXTENTS: readonly Extent[] = ["quick", "normal", "full"];
/** Why an item is not run; undefined where it is: on a software adapter from the extent `least` on, on a GPU always. */
export const skipped = (extent: Extent, least: Extent, software: boolean): string | undefined =>
  software && EXTENTS.indexOf(extent) < EXTENTS.indexOf(least) ? BEYOND[extent] : undefined;

type Network = Extract<Item["source"], { kind: "network" | "sampler" }>;

interface NetworkInit extends Pick<Item, "skip" | "axes">, Pick<Workload, "id" | "name" | "batch"> {
  readonly model: ModelRef;
  readonly label: string;
  readonly dtype?: Dtype;
  readonly size?: number;
  /** Of the context, for networks that attend to one. */
  readonly tokens?: number;
  readonly group?: "unet" | "growth";
}

async function networkItem(init: NetworkInit): Promise<Item & { source: Network }> {
  const { id, name, model, label, batch, dtype = "f32", tokens, group = "unet", skip, axes } = init;
  const opened = await openModelRef(model);
  const own = opened.config.sample_size ?? { height: 64, width: 64 };
  const size = init.size === undefined ? own : { height: init.size, width: init.size };
  const shape = [batch, opened.config.in_channels, size.height, size.width];
  return {
    workload: { id, group, name, model: label, shape, dtype, batch },
    cost: networkCost(opened, size, batch, tokens),
    source: { kind: "network", model, size, tokens },
    tolerance: TOLERANCE.network[dtype],
    skip,
    axes,
  };
}

const shipped = (name: string): ModelRef => ({ folder: join(packageRoot(), "weights", name) });
const published = (name: string): ModelRef => ({
  folder: join(packageRoot(), "bench/configs", name),
  randomWeights: 1,
});

/** Networks of published size: made-up weights. `least` as above. */
const PUBLISHED: readonly { name: string; batch: number; least: Extent; tokens?: number }[] = [
  { name: "ddpm-cifar10-32", batch: 1, least: "normal" },
  { name: "ddpm-cifar10-32", batch: 4, least: "full" },
  { name: "ddpm-cifar10-32", batch: 16, least: "full" },
  { name: "ddpm-celebahq-256", batch: 1, least: "full" },
  { name: "ddpm-celebahq-256", batch: 4, least: "full" },
  { name: "cin256-v2", batch: 1, least: "full", tokens: 1 },
  { name: "cin256-v2", batch: 4, least: "full", tokens: 1 },
  { name: "stable-diffusion-v1-5", batch: 1, least: "full", tokens: 77 },
];

/** A result for a network that cannot be opened says why. */
async function tried(init: NetworkInit): Promise<Item> {
  try {
    return await networkItem(init);
  } catch (error) {
    const { id, name, label, batch, dtype = "f32", model } = init;
    return {
      workload: { id, group: "unet", name, model: label, shape: [batch], dtype, batch },
      source: { kind: "network", model, size: { height: 0, width: 0 } },
      tolerance: 0,
      skip: `cannot be opened: ${(error as Error).message}`,
    };
  }
}

/** The points of growth that evaluations of the first shipped model are, at its own size and width. */
const basePoints = (batch: number): Item["axes"] => {
  const own = { name: "batch", value: batch } as const;
  if (batch > 1) return [own];
  return [own, { name: "resolution", value: BASE_SIDE }, { name: "channels", value: BASE_CHANNELS }];
};

export async function networkItems(extent: Extent, software: boolean): Promise<Item[]> {
  const items: Promise<Item>[] = [];
  for (const model of SHIPPED)
    for (const [batch, dtype, least] of [
      [1, "f32", "quick"],
      [4, "f32", "quick"],
      [16, "f32", model === SHIPPED[0] ? "quick" : "normal"],
      [1, "f16", "quick"],
    ] as const)
      items.push(
        networkItem({
          id: `unet/${model}/${dtype}/b${batch}`,
          name: `${model}, one evaluation`,
          model: shipped(model),
          label: model,
          batch,
          dtype,
          skip: skipped(extent, least, software),
          axes: model === SHIPPED[0] && dtype === "f32" ? basePoints(batch) : undefined,
        }),
      );
  for (const { name, batch, least, tokens } of PUBLISHED)
    for (const dtype of ["f32", "f16"] as const)
      items.push(
        tried({
          id: `unet/${name}/${dtype}/b${batch}`,
          name: `${name}, one evaluation, made-up weights`,
          model: published(name),
          label: name,
          batch,
          dtype,
          tokens,
          skip: skipped(extent, dtype === "f16" ? "full" : least, software),
        }),
      );
  return Promise.all(items);
}

const STEPS = [10, 20, 50] as const;

/** Warm runs of the whole sampler. */
export async function samplerItems(extent: Extent, software: boolean): Promise<Item[]> {
  const items: Item[] = [];
  for (const label of SHIPPED) {
    const { workload, source } = await networkItem({ id: "", name: "", model: shipped(label), label, batch: 1 });
    for (const steps of STEPS)
      items.push({
        workload: {
          ...workload,
          id: `sampler/${label}/f32/b1/S${steps}/warm`,
          group: "sampler",
          name: `${label}, ${steps} steps`,
          steps,
          phase: "warm",
        },
        source: { ...source, kind: "sampler" },
        tolerance: TOLERANCE.sampler,
        skip: skipped(extent, steps === 50 && label !== SHIPPED[0] ? "normal" : "quick", software),
        axes: label === SHIPPED[0] ? [{ name: "steps", value: steps }] : undefined,
      });
  }
  return items;
}

/** Points on the axes of growth beside those that the other groups measure. @param scratch for varied configurations */
export function growthItems(scratch: string): Promise<Item[]> {
  const label = SHIPPED[0];
  const model = shipped(label);
  const point = (name: "batch" | "resolution" | "channels", value: number, more: Partial<NetworkInit>) =>
    networkItem({
      ...{ id: `growth/${name}/${value}`, name: `${label}, grown`, group: "growth", model, label, batch: 1 },
      ...more,
      axes: [{ name, value }],
    });
  return Promise.all([
    ...[2, 8].map((batch) => point("batch", batch, { batch })),
    ...[32, 64].map((size) => point("resolution", size, { size })),
    ...[64, 128].map((first) => {
      const wider = widenModel(model.folder, first / BASE_CHANNELS, join(scratch, `channels-${first}`));
      return point("channels", first, { model: wider });
    }),
  ]);
}
