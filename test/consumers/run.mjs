// What every runtime does in consumers.test.ts: networks of the built package, on the runtime's own WebGPU where it has
// one (Deno) and else on Dawn (Node, Bun). Takes jobs as JSON, prints one JSON object a line: device, then results.
import { Buffer } from "node:buffer";
import process from "node:process";

/**
 * @typedef {object} Job a run where `options` is given, else one evaluation
 * @property {string} folder of a model
 * @property {string} [tensors] a safetensors file: x_T of a run, or the inputs of an evaluation
 * @property {import("../../src/pipeline/types.ts").GenerateOptions} [options]
 */

// By a computed name: types are checked before dist/ is built.
const built = new URL("../../dist/node/index.js", import.meta.url).href;
const { loadPipeline, openDevice, openNodeDevice, openSafetensorsFile } = await import(built);

/** @param {ArrayBufferView} data */
const text = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString("base64");
/** @param {object} line */
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** @param {string} path */
async function read(path) {
  const file = await openSafetensorsFile(path);
  const entries = [...file.tensors].map(async ([name, { shape }]) => [name, { shape, data: await file.read(name) }]);
  return Object.fromEntries(await Promise.all(entries));
}

const own = globalThis.navigator?.gpu;
const device = own ? await openDevice(own) : await openNodeDevice({ fast: false });
print({ device: device.name, own: own !== undefined });
for (const { folder, tensors, options } of /** @type {Job[]} */ (JSON.parse(process.argv[2] ?? "[]"))) {
  const given = tensors ? await read(tensors) : {};
  const pipe = await loadPipeline(folder, { device });
  if (options) {
    const { images, samples } = await pipe.generate({ ...options, noise: given.x_T });
    print({ pixels: images.map((/** @type {ImageData} */ { data }) => text(data)), samples: text(samples.data) });
  } else {
    const { sample, timestep, class_labels: labels } = given;
    const { data } = await pipe.network.forward({
      sample,
      timestep: [...timestep.data],
      classLabels: labels?.shape.length === 1 ? [...labels.data] : undefined,
      classVectors: labels?.shape.length === 2 ? labels : undefined,
      // diffusers takes a context even where nothing attends to it.
      context: pipe.model.config.context_dim === null ? undefined : given.encoder_hidden_states,
      textEmbeds: given["added/text_embeds"],
      timeIds: given["added/time_ids"],
      timestepCond: given.timestep_cond,
    });
    print({ samples: text(data) });
  }
  pipe.dispose();
}
device.dispose();
// Dawn keeps a process alive.
process.exit(0);
