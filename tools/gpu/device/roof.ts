/** What the machine can do at best, by WGSL through Dawn alone: bytes, multiply-adds, matrix units, dispatches. */
import process from "node:process";
import { create, globals } from "webgpu";
import { attempt, rehearsal, tell } from "./stage.ts";

Object.assign(globalThis, globals);
const ON = "allow_unsafe_apis,skip_validation,disable_robustness";
const OFF = "timestamp_quantization,lazy_clear_resource_on_first_use";
/** Node aborts once it is collected. */
const gpu = create([`enable-dawn-features=${ON}`, `disable-dawn-features=${OFF}`]);
const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
if (!adapter) throw new Error("no adapter");
const matrices = "chromium-experimental-subgroup-matrix" as GPUFeatureName;
const requiredFeatures = (["shader-f16", "subgroups", "timestamp-query", matrices] as GPUFeatureName[]).filter((name) =>
  adapter.features.has(name),
);
const { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize } = adapter.limits;
const requiredLimits = { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize };
const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
device.addEventListener("uncapturederror", ({ error }) => console.log(`ERROR ${error.message.slice(0, 400)}`));
const { STORAGE, COPY_SRC, COPY_DST, QUERY_RESOLVE, MAP_READ } = GPUBufferUsage;
const stamps = requiredFeatures.includes("timestamp-query");
const querySet = stamps ? device.createQuerySet({ type: "timestamp", count: 2 }) : undefined;
const resolved = device.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC });
const staging = device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST });

type Record = (pass: GPUComputePassEncoder) => void;
/** The least milliseconds of a pass: on the GPU where it has timestamps, else by the host. */
async function best(record: Record, times = rehearsal ? 2 : 7): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < times; i++) {
    const encoder = device.createCommandEncoder();
    const timestampWrites = querySet && { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    const pass = encoder.beginComputePass({ timestampWrites });
    record(pass);
    pass.end();
    if (querySet) encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16);
    const began = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    let ms = performance.now() - began;
    if (stamps) {
      await staging.mapAsync(GPUMapMode.READ);
      const [from = 0n, to = 0n] = new BigUint64Array(staging.getMappedRange().slice(0));
      staging.unmap();
      ms = Number(to - from) / 1e6;
    }
    if (i > 0) least = Math.min(least, ms);
  }
  return least;
}

const HEAD = `@group(0) @binding(0) var<storage, read> a: array<IN>; @group(0) @binding(1) var<storage, read_write> o: array<OUT>;`;
const head = (input: string, output = input) => HEAD.replace("IN", input).replace("OUT", output);

async function kernel(code: string, buffers: readonly GPUBuffer[]) {
  const module = device.createShaderModule({ code });
  const compute = { module, entryPoint: "main" };
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return (pass: GPUComputePassEncoder, x: number, y = 1) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y);
  };
}

function bufferOf(size: number, data?: Float32Array<ArrayBuffer>): GPUBuffer {
  const buffer = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
  if (data) device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

const repeat = (count: number, text: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => text(i)).join("\n  ");
const rate = (measure: string, value: number, unit: string, ms: number) =>
  tell({ measure, value, unit, ms }, `${measure}: ${value.toPrecision(3)} ${unit}`);

await attempt({ measure: "copy" }, async () => {
  const bytes = rehearsal ? 2 ** 24 : 2 ** 29;
  const [from, to] = [bufferOf(bytes), bufferOf(bytes)];
  const copy = await kernel(
    `${head("vec4f")}
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) i: vec3u, @builtin(num_workgroups) g: vec3u) {
  let at = i.y * g.x * 256u + i.x;
  o[at] = a[at];
}`,
    [from, to],
  );
  const groups = bytes / 16 / 256;
  const ms = await best((pass) => copy(pass, Math.min(32768, groups), Math.max(1, groups / 32768)));
  rate(`copy of ${bytes / 2 ** 20} MiB, read and written`, (2 * bytes) / ms / 1e6, "GB/s", ms);
  for (const buffer of [from, to]) buffer.destroy();
});

const small = bufferOf(
  2 ** 20,
  Float32Array.from({ length: 2 ** 18 }, (_, i) => 0.5 + (i % 64) / 200),
);
const threads = rehearsal ? 2 ** 12 : 2 ** 20;
const results = bufferOf(threads * 4);
for (const [type, vector] of [
  ["f32", "vec4f"],
  ["f16", "vec4h"],
] as const)
  await attempt({ measure: `multiply-adds in ${type}` }, async () => {
    const sum = Array.from({ length: 8 }, (_, i) => `c${i}`).join(" + ");
    const run = await kernel(
      `${type === "f16" ? "enable f16;" : ""} ${head("f32")}
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) i: vec3u) {
  let m = ${vector}(${type}(a[i.x % 64u])); let b = ${vector}(${type}(a[(i.x + 1u) % 64u]));
  ${repeat(8, (i) => `var c${i} = m + ${vector}(${type}(${i}.0));`)}
  for (var t = 0u; t < 256u; t++) { ${repeat(32, (i) => `c${i % 8} = fma(c${i % 8}, m, b);`)} }
  let s = ${sum};
  o[i.x] = f32(s.x + s.y + s.z + s.w);
}`,
      [small, results],
    );
    const ms = await best((pass) => run(pass, threads / 256));
    rate(`multiply-adds in ${type}`, (threads * 8 * 4 * 4 * 256 * 2) / ms / 1e9, "TFLOP/s", ms);
  });

/** Where operands come from at every step: nowhere, workgroup memory of elements of a type, or the right one from storage. */
const FEEDS = ["registers", "array<f16>", "array<vec4<f16>>", "array<vec4<u32>>", "storage"] as const;
interface MatrixConfig {
  readonly [key: string]: unknown;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}
const { subgroupMatrixConfigs = [] } = adapter.info as { subgroupMatrixConfigs?: Iterable<MatrixConfig> };
for (const { M, N, K, componentType, resultComponentType } of subgroupMatrixConfigs)
  for (const feed of componentType === "f16" ? FEEDS : [])
    await attempt({ measure: `matrices ${M}x${N}x${K} f16->${resultComponentType} from ${feed}` }, async () => {
      const [subgroups, tiles, loops] = [4, 4, 256];
      const lanes = 32 * subgroups;
      const element = /array<(.*)>$/.exec(feed)?.[1] ?? "f16";
      const per = { f16: 1, "vec4<f16>": 4, "vec4<u32>": 8 }[element] ?? 1;
      const fill = (name: string, size: number) =>
        `for (var i = lane; i < ${size / per}u; i += ${lanes}u) { ${name}[i] = ${element}(${element.includes("u32") ? "0x34003400u" : "f16(a[i % 64u] - 0.5)"}); }`;
      const load = (side: "left" | "right", i: number) => {
        const [columns, lines, size] = side === "left" ? [K, M, M * K] : [N, K, K * N];
        const memory = side === "left" ? "x" : feed === "storage" ? "b" : "y";
        return `subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${columns}, ${lines}>, row_major>(&${memory}, ${i * size}u, ${columns}u)`;
      };
      const run = await kernel(
        `enable f16; enable chromium_experimental_subgroup_matrix; diagnostic(off, chromium.subgroup_matrix_uniformity);
${head("f32")} @group(0) @binding(2) var<storage, read> b: array<f16>;
var<workgroup> x: array<${element}, ${(M * K * tiles) / per}>; var<workgroup> y: array<${element}, ${(K * N * tiles) / per}>;
var<workgroup> r: array<${resultComponentType}, ${M * N * subgroups}>;
@compute @workgroup_size(${lanes}) fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${fill("x", M * K * tiles)} ${fill("y", K * N * tiles)}
  workgroupBarrier();
  ${repeat(tiles, (i) => `var a${i} = ${load("left", i)}; var b${i} = ${load("right", i)};`)}
  ${repeat(tiles ** 2, (i) => `var c${i}: subgroup_matrix_result<${resultComponentType}, ${N}, ${M}>;`)}
  for (var s = 0u; s < ${loops}u; s++) {
    ${feed === "registers" ? "" : repeat(tiles, (i) => `a${i} = ${load("left", i)}; b${i} = ${load("right", i)};`)}
    ${repeat(tiles ** 2, (i) => `c${i} = subgroupMatrixMultiplyAccumulate(a${Math.floor(i / tiles)}, b${i % tiles}, c${i});`)}
  }
  let strip = lane / 32u * ${M * N}u + f32Bits(b[0]);
  ${repeat(tiles ** 2, (i) => `workgroupBarrier(); subgroupMatrixStore<row_major>(&r, strip, c${i}, ${N}u); workgroupBarrier(); o[(wg.x * ${lanes}u + lane) % ${threads}u] += f32(r[strip + lane % 32u]);`)}
}
/** Nothing, so that b is bound in every kernel. */
fn f32Bits(v: f16) -> u32 { return select(0u, 1u, f32(v) > 1e4); }`,
        [small, results, small],
      );
      const groups = 132 * 16;
      const ms = await best((pass) => run(pass, groups));
      const flops = groups * subgroups * tiles ** 2 * loops * 2 * M * N * K;
      rate(`matrices ${M}x${N}x${K} f16->${resultComponentType} from ${feed}`, flops / ms / 1e9, "TFLOP/s", ms);
    });

await attempt({ measure: "dispatches" }, async () => {
  const count = rehearsal ? 100 : 500;
  const code = `${head("f32")}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) i: vec3u) { o[i.x] += a[i.x]; }`;
  const apart = await Promise.all(Array.from({ length: count }, () => kernel(code, [small, bufferOf(256)])));
  const [tiny = await kernel(code, [small, results])] = apart;
  const dependent: Record = (pass) => {
    for (let i = 0; i < count; i++) tiny(pass, 1);
  };
  const independent: Record = (pass) => {
    for (const run of apart) run(pass, 1);
  };
  for (const [name, record] of Object.entries({ dependent, independent })) {
    const ms = await best(record, 5);
    rate(`${name} dispatches of a workgroup`, (1000 * ms) / count, "us each on the GPU", ms);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 6; i++) {
      const began = performance.now();
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      record(pass);
      pass.end();
      device.queue.submit([encoder.finish()]);
      least = Math.min(least, performance.now() - began);
      await device.queue.onSubmittedWorkDone();
    }
    rate(`${name} dispatches encoded and submitted`, (1000 * least) / count, "us each on the host", least);
  }
});
process.exit();
