/** `ddim forward` and `ddim bench forward` on golden networks. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { readTensors } from "../support/models.ts";

const scratch = scratchFolder();
const golden = (name: string, file = "") => join("test/golden/models", name, file);

/** Energy of the difference over the energy of the golden output. */
async function nmse(file: string, reference: string): Promise<number> {
  const got = await openSafetensorsFile(file);
  const wanted = await openSafetensorsFile(reference);
  expect(got.info("output")).toMatchObject({ dtype: "F32", shape: wanted.info("output").shape });
  const [y, r] = [await got.read("output"), await wanted.read("output")];
  const energy = (values: Float32Array) => values.reduce((sum, v) => sum + v * v, 0);
  return energy(y.map((v, i) => v - (r[i] as number))) / energy(r);
}

test.each([
  ["noattn", "", "auto", 1e-10],
  ["classidentity", "", "f32", 1e-10],
  // The network's own folder.
  ["ddpm_sharded", "unet", "f16", 2e-5],
])("the network %s/%s evaluates as diffusers does, %s", async (name, folder, dtype, most) => {
  const output = join(scratch, `${name}.safetensors`);
  const input = golden(name, "io.safetensors");
  const args = ["forward", "-m", golden(name, folder), "--input", input, "-o", output, "--dtype", dtype, "-q"];
  expect(await ddim(args)).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect(await nmse(output, input)).toBeLessThan(most);
  const first = readFileSync(output);
  const again = await ddim([...args, "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({ output, dtype: dtype === "f16" ? "f16" : "f32" });
  expect(readFileSync(output)).toEqual(first);
});

test("what a network does not take is one sentence, and no file", async () => {
  const output = join(scratch, "none.safetensors");
  const args = ["forward", "-m", golden("noattn"), "--input", golden("ddpm", "io.safetensors"), "-o", output];
  const { code, stderr } = await ddim(args);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^ddim: forward: sample has shape \[2, 3, \d+, \d+\], expected \[N, 2, H, W\]\n$/);
});

test("tensors that the network does not take are not even read", async () => {
  const given = await readTensors(golden("noattn", "io.safetensors"));
  const f32 = (name: string) => ({ dtype: "F32", ...given[name]! }) as const;
  const odd = { dtype: "F32", shape: [1], data: Float32Array.of(Number.NaN) } as const;
  const named = ["class_labels", "encoder_hidden_states", "context", "added/text_embeds", "added/time_ids"];
  const others = Object.fromEntries([...named, "timestep_cond", "concat", "anything"].map((name) => [name, odd]));
  const [input, output] = [join(scratch, "more.safetensors"), join(scratch, "ignored.safetensors")];
  writeFileSync(input, encodeSafetensors({ ...others, sample: f32("sample"), timestep: f32("timestep") }));
  const { code, stderr } = await ddim(["forward", "-m", golden("noattn"), "--input", input, "-o", output]);
  expect(code, stderr).toBe(0);
  expect(await nmse(output, golden("noattn", "io.safetensors"))).toBeLessThan(1e-10);
});

test("bench forward prints times and what they were measured on", async () => {
  const args = ["bench", "forward", "-m", golden("noattn"), "--input", golden("noattn", "io.safetensors")];
  const { code, stdout } = await ddim([...args, "--seconds", "0.2", "--json", "-q"]);
  expect(code).toBe(0);
  const { ms, ms_min, runs, ...rest } = JSON.parse(stdout);
  expect(rest).toEqual({ adapter: expect.any(String), dtype: "f32", peak_gpu_bytes: expect.any(Number) });
  expect(ms_min).toBeGreaterThan(0);
  expect(ms).toBeGreaterThanOrEqual(ms_min);
  expect(runs).toBeGreaterThanOrEqual(3);
});

test("Ctrl-C ends a measurement", async () => {
  const args = ["bench", "forward", "-m", golden("noattn"), "--input", golden("noattn", "io.safetensors")];
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 1500);
  const start = performance.now();
  const { code, stderr } = await ddim([...args, "--seconds", "60"], { signal: abort.signal });
  expect({ code, stderr }).toEqual({ code: 130, stderr: "ddim: interrupted\n" });
  expect(performance.now() - start).toBeLessThan(30_000);
});

test.each(["forward", "bench"])("%s: -v lists the kernels' times and --trace writes them", async (command) => {
  const trace = join(scratch, `${command}.json`);
  const own =
    command === "forward"
      ? ["forward", "-o", join(scratch, "traced.safetensors")]
      : ["bench", "forward", "--seconds", "0.1"];
  const input = golden("noattn", "io.safetensors");
  const { code, stderr } = await ddim([...own, "-m", golden("noattn"), "--input", input, "-v", "--trace", trace]);
  expect(code).toBe(0);
  expect(stderr).toMatch(/^kernel +calls +ms +GFLOP\/s +GB\/s$/m);
  const { traceEvents } = JSON.parse(readFileSync(trace, "utf8"));
  expect(traceEvents.map((event: { cat: string }) => event.cat)).toContain("conv2d");
});
