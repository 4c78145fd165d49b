/** A model's layers, parameters and memory plan. Reads configurations and headers; of a device, only what it is. */
import { autoencoderTensors } from "../../autoencoder/open.ts";
import { latentScale } from "../../autoencoder/spec.ts";
import { methodsFor, targetFor } from "../../kernels/target.ts";
import type { ParamRef } from "../../kernels/weights.ts";
import type { DeviceRoom } from "../../network/limits.ts";
import { splitParam } from "../../network/places.ts";
import { tuningFolder } from "../../node/tuningFolder.ts";
import { concatNames } from "../../pipeline/concat.ts";
import { tokensOf } from "../../pipeline/contexts.ts";
import type { Model } from "../../pipeline/model.ts";
import { ownSize } from "../../pipeline/size.ts";
import { measuredMethods, tuningScope } from "../../pipeline/tuningTable.ts";
import type { NetworkDType } from "../../pipeline/types.ts";
import type { Device } from "../../runtime/device.ts";
import { DeviceError } from "../../runtime/errors.ts";
import type { Target } from "../../runtime/kernel.ts";
import { makeSchedule } from "../../sampler/schedule.ts";
import { layouts } from "../../unet/layouts/detect.ts";
import { elementCount } from "../../weights/checkpoint.ts";
import { cacheOf, type LoadFlags } from "../flags.ts";
import type { Terminal } from "../io.ts";
import { countVariants, lower } from "../kernels.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { bytes, plural, quantity, table } from "../table.ts";
import { LEAST_ROOM, type MemoryReport, memoryLines, reportMemory } from "./memory.ts";

/** The kernels of a GPU that we know nothing about. */
const ANY_GPU: Target = { shapes: "const", storage: "buffer", lanes: 0, software: false };

export async function inspectModel(terminal: Terminal, path: string | undefined, flags: LoadFlags): Promise<void> {
  const { config, weights, variant, randomWeights, ignoreUnknown } = flags;
  const asked = { model: path, config, weights, variant, randomWeights, ignoreUnknown };
  const model = await openFlaggedModel(terminal, asked);
  const { adapter, target, room } = await chooseTarget(terminal, flags);
  const dtype = flags.dtype === "f16" ? "f16" : "f32";
  const size = ownSize(model);
  const [contextLength, concat] = [tokensOf(model), model.concat?.channels];
  const lowerTo = (type: NetworkDType) => lower(model.config, target, size, type, { contextLength, concat });
  const lowered = lowerTo(dtype);
  const plans = (["f32", "f16"] as const).map((type) =>
    reportMemory(type === dtype ? lowered : lowerTo(type), type, room),
  );
  const report = {
    kind: "model",
    name: model.name,
    ...describe(model, lowered.network.params),
    first_stage: describeFirstStage(model),
    memory: { adapter, ...size, ...(plans.find((plan) => plan.dtype === dtype) as MemoryReport), plans },
    flops_per_image: lowered.main.calls.reduce((sum, call) => sum + call.cost(1).flops, 0),
    kernels: countVariants(lowered),
    warnings: [...model.warnings, ...(model.scheduler ? makeSchedule(model.scheduler).warnings : [])],
  };
  if (flags.json) terminal.json(report);
  else print(terminal, report);
}

/** What the kernels would be made for: the adapter that would be used, or where there is none, any GPU. */
async function chooseTarget(
  terminal: Terminal,
  flags: LoadFlags,
): Promise<{ adapter: string | null; target: Target; room: DeviceRoom }> {
  try {
    const device = await terminal.io.openDevice({ adapter: flags.device });
    try {
      return { adapter: device.name, target: await targetOf(device, terminal, flags), room: device };
    } finally {
      device.dispose();
    }
  } catch (error) {
    if (error instanceof DeviceError && error.reason === "unsupported")
      return { adapter: null, target: ANY_GPU, room: LEAST_ROOM };
    throw error;
  }
}

/** The kernels that a device would get, with what `ddim tune` remembers of it. */
async function targetOf(device: Device, terminal: Terminal, flags: LoadFlags): Promise<Target> {
  const folder = cacheOf(flags, terminal.io.env);
  const tuning =
    folder === undefined
      ? undefined
      : await tuningFolder(folder, (text) => terminal.warn([text])).load(await tuningScope(device));
  return targetFor(device, methodsFor(flags.precision, tuning && measuredMethods(tuning)));
}

function describe(model: Model, params: readonly ParamRef[]) {
  const { config, checkpoint, scheduler, labels, classCount, nullClass, naming, layout, weights } = model;
  const modules = new Map<string, { layer: string; parameters: number; shapes: string[] }>();
  const dtypes = new Set<string>();
  // A checkpoint can hold more than the network: other networks, buffers, a moving average.
  const own = new Map(params.map((param) => [naming.locate(param).name, splitParam(param.name)]));
  let stored = 0;
  for (const [name, tensor] of checkpoint.tensors) {
    const [path, leaf] = own.get(name) ?? [];
    if (path === undefined) continue;
    stored += tensor.end - tensor.start;
    const layer = naming.module(path);
    const entry = modules.get(layer) ?? { layer, parameters: 0, shapes: [] };
    entry.parameters += elementCount(tensor);
    entry.shapes.push(`${leaf} [${tensor.shape.join(", ")}]`);
    modules.set(layer, entry);
    dtypes.add(tensor.dtype);
  }
  const layers = [...modules.values()];
  return {
    parameters: layers.reduce((sum, { parameters }) => sum + parameters, 0),
    bytes: stored,
    layout,
    weights,
    stored_as: [...dtypes],
    sample_size: config.sample_size && [config.sample_size.height, config.sample_size.width],
    in_channels: config.in_channels,
    state_channels: model.stateChannels,
    concat: model.concat,
    out_channels: config.out_channels,
    context_dim: config.context_dim,
    classes: classCount,
    class_names: labels,
    null_class: nullClass,
    scheduler: scheduler?._class_name ?? null,
    prediction_type: scheduler?.prediction_type ?? null,
    beta_schedule: scheduler?.beta_schedule ?? null,
    layers,
  };
}

/** Of the autoencoder whose latents the network works on. */
function describeFirstStage({ firstStage }: Model) {
  if (!firstStage) return null;
  const { spec } = firstStage;
  return {
    kind: spec.kind === "vq" ? "VQModel" : "AutoencoderKL",
    parameters: autoencoderTensors(spec).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    latent_channels: spec.latent_channels,
    pixels_per_latent: latentScale(spec),
    scaling_factor: spec.scaling_factor,
  };
}

type Report = ReturnType<typeof describe> & {
  name: string;
  first_stage: ReturnType<typeof describeFirstStage>;
  memory: MemoryReport & {
    adapter: string | null;
    height: number;
    width: number;
    plans: readonly MemoryReport[];
  };
  flops_per_image: number;
  kernels: { kernel: string; variant: string; calls: number }[];
  warnings: readonly string[];
};

/** diffusers' class, or a UNet in another layout. */
function networkName({ layout, weights, context_dim }: Report): string {
  if (layout === "diffusers") return context_dim === null ? "UNet2DModel" : "UNet2DConditionModel";
  const { title } = layouts.find(({ id }) => id === layout) as (typeof layouts)[number];
  return `UNet in ${title}${weights === "ema" ? ", EMA weights" : ""}`;
}

/** The tables, which are long, then what is asked for most. */
function print(terminal: Terminal, report: Report): void {
  const first = report.first_stage;
  const { name, parameters, stored_as, classes, class_names, null_class, memory, kernels, layers } = report;
  const names = class_names ? `: ${class_names.map((label, id) => `${id} ${label}`).join(", ")}` : "";
  const planned = memory.adapter ? `on ${memory.adapter}` : "for a GPU; no adapter is here";
  const dispatches = kernels.reduce((sum, { calls }) => sum + calls, 0);
  const lines = [
    `${name}: ${networkName(report)}, ${quantity(parameters)} parameters, ${bytes(report.bytes)} as ${stored_as.join(", ")}`,
    `${first ? "latents" : "images"}: ${report.state_channels} channels${report.sample_size ? `, ${report.sample_size.join(" x ")}` : ""}`,
    ...(report.concat ? [`beside them: ${report.concat.channels} channels, ${concatNames[report.concat.kind]}`] : []),
    ...(first
      ? [
          `first stage: ${first.kind}, ${quantity(first.parameters)} parameters, a latent is ${first.pixels_per_latent} x ${first.pixels_per_latent} pixels, scaling factor ${first.scaling_factor}`,
        ]
      : []),
    `classes: ${classes === 0 ? "none" : `${classes}${names}`}${null_class === null ? "" : `; null class ${null_class}`}`,
    report.scheduler
      ? `scheduler: ${report.scheduler}, ${report.beta_schedule}, ${report.prediction_type}`
      : "scheduler: none, so the model can be evaluated but not sampled",
    `one evaluation: ${quantity(report.flops_per_image)}FLOP per image, ${plural(dispatches, "dispatch", "dispatches")}`,
    `GPU memory at ${memory.height} x ${memory.width}, planned ${planned}:`,
    ...memory.plans.flatMap(memoryLines),
  ];
  terminal.data(
    table(
      ["layer", "parameters", "tensors"],
      layers.map(({ layer, parameters: n, shapes }) => [layer, n, shapes.join(", ")]),
    ),
  );
  terminal.data([
    "",
    ...table(
      ["kernel", "variant", "calls"],
      kernels.map(({ kernel, variant, calls }) => [kernel, variant, calls]),
    ),
  ]);
  terminal.data(["", ...lines]);
  terminal.warn(report.warnings);
}
