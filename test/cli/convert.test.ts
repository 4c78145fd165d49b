/** `ddim convert`, and one file of weights as a model, for the command line and the library. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { openModel } from "../../src/node/model.ts";
import { toNodeSource } from "../../src/node/source.ts";
import { withRandomWeights } from "../../src/weights/random.ts";
import { toSource } from "../../src/weights/to-source.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { memorySource } from "../weights/memory-source.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);
const fixture = (name: string) => `test/weights/pickles/${name}`;
const shipped = "weights/pixel-avatars-16";

test("writes the weights, says what it left out, and leaves the output alone unless told", async () => {
  const out = at("out.safetensors");
  const first = await ddim(["convert", fixture("lightning.ckpt"), out]);
  expect(first.code).toBe(0);
  expect(first.stderr).toContain(`${out}: 3 tensors, `);
  expect(first.stderr).toContain(`from state_dict of ${fixture("lightning.ckpt")}`);
  expect(first.stderr).toMatch(/left out: epoch, global_step, .*callbacks, optimizer_states/);
  const file = await openSafetensorsFile(out);
  expect([...file.tensors.keys()].sort()).toEqual(["model.w", "model_ema.decay", "model_ema.w"]);
  const before = readFileSync(out);
  const second = await ddim(["convert", fixture("list.pth"), out]);
  expect([second.code, second.stderr]).toEqual([1, `ddim: ${out}: exists already; --overwrite replaces it\n`]);
  expect(readFileSync(out)).toEqual(before);
  expect((await ddim(["convert", fixture("list.pth"), out, "--overwrite", "-q"])).stderr).toBe("");
  expect(await (await openSafetensorsFile(out)).read("w")).toEqual(Float32Array.of(1, 1, 1));
  expect((await ddim(["convert", fixture("list.pth"), at("x.pt")])).code).toBe(2);
  expect((await ddim(["convert", fixture("expected.json"), at("x.safetensors")])).code).toBe(1);
  expect((await ddim(["convert", fixture("zip.pt"), at("x.safetensors"), "--ema"])).code).toBe(2);
  expect(readdirSync(scratch)).toEqual(["out.safetensors"]);
});

test("--ema and --half", async () => {
  const out = at("half.safetensors");
  const { code, stdout } = await ddim(["convert", fixture("list.pth"), out, "--ema", "--half", "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    tensors: 1,
    values: 3,
    from: "item 4",
    left_out: ["item 0", "item 1", "item 2", "item 3"],
  });
  const file = await openSafetensorsFile(out);
  expect(file.info("w").dtype).toBe("F16");
  expect(await file.read("w")).toEqual(Float32Array.of(2, 2, 2));
  expect(file.metadata).toEqual({ format: "pt", weights: "ema" });
  // Every type in one file: what is not F32 stays, in the same bytes.
  const [whole, less] = [at("whole.safetensors"), at("less.safetensors")];
  await ddim(["convert", fixture("zip.pt"), whole]);
  await ddim(["convert", fixture("zip.pt"), less, "--half"]);
  const [a, b] = [await openSafetensorsFile(whole), await openSafetensorsFile(less)];
  for (const [name, { dtype, start }] of b.tensors) {
    const before = a.info(name);
    expect(dtype).toBe(before.dtype === "F32" ? "F16" : before.dtype);
    if (dtype !== "F16") expect(await b.readBytes(name)).toEqual(await a.readBytes(name));
    expect(start % (dtype === "F64" || dtype === "I64" || dtype === "C64" ? 8 : 2)).toBe(
      dtype === "U8" || dtype === "I8" || dtype === "BOOL" ? start % 2 : 0,
    );
  }
});

/** The shipped network as a pickle: the reader of pickles takes safetensors' bytes for a storage. */
test("a file is a model: its configuration by name, config.*, or --config; else the error names these", async () => {
  const folder = at("one");
  mkdirSync(folder);
  const weights = join(folder, "net.safetensors");
  copyFileSync(`${shipped}/unet/diffusion_pytorch_model.safetensors`, weights);
  copyFileSync(`${shipped}/scheduler/scheduler_config.json`, join(folder, "scheduler_config.json"));
  const refused = await ddim(["schedule", "-m", weights, "-S", "2"]);
  expect(refused.code).toBe(0);
  const without = await ddim(["sample", "-m", weights, "-o", at("o.png")]);
  expect(without.code).toBe(1);
  expect(without.stderr).toContain("net.safetensors: has no configuration beside it: neither net.json nor net.yaml");
  expect(without.stderr).toContain("config.json nor config.yaml");
  expect(without.stderr).toContain("--config FILE");
  const config = readFileSync(`${shipped}/unet/config.json`);
  writeFileSync(at("elsewhere.json"), config);
  const reference = await openModel(toNodeSource(`${shipped}/unet`));
  const isSame = async (model: Promise<Awaited<ReturnType<typeof openModel>>>) => {
    const { name, config: own, scheduler } = await model;
    expect(name).toBe("net");
    expect(own).toEqual(reference.config);
    expect(scheduler).not.toBeNull();
  };
  await isSame(openModel(toNodeSource(weights, { config: at("elsewhere.json") })));
  await isSame(openModel(toNodeSource(pathToFileURL(weights), { config: JSON.parse(config.toString()) })));
  expect((await ddim(["inspect", "-m", weights, "--config", at("elsewhere.json"), "--json"])).stdout).toContain(
    '"kind":"model"',
  );
  writeFileSync(join(folder, "config.json"), "{}");
  writeFileSync(join(folder, "net.json"), config);
  await isSame(openModel(toNodeSource(weights)));
  // A browser's File with its configuration, and a server's file.
  const file = new File([readFileSync(weights)], "net.safetensors");
  const given = toSource(file, { config: new File([config], "x.json") });
  expect((await openModel(given)).config).toEqual(reference.config);
  const asked: string[] = [];
  const fetch = async (url: string) => {
    asked.push(url);
    return new Response(null, { status: 404 });
  };
  await expect(openModel(toSource("https://example.org/m/net.ckpt?key=1", { fetch }))).rejects.toThrow(
    "no configuration",
  );
  expect(asked.length).toBeLessThanOrEqual(4);
  expect(asked[0]).toBe("https://example.org/m/net.json?key=1");
});

test("a pickle is a model: plain weights, the average, made-up ones", async () => {
  const expected = { in_channels: 3, out_channels: 3 };
  const folder = memorySource({
    "model.ckpt": new Uint8Array(readFileSync(fixture("list.pth"))),
    "config.json": readFileSync(`${shipped}/unet/config.json`),
  });
  // Not this network's tensors, but found and read as they should be.
  await expect(openModel(folder)).rejects.toThrow(/^model\/model\.ckpt: is in no layout that is known: it has w/);
  const made = await openModel(folder, { randomWeights: 1n });
  expect(made.config).toMatchObject(expected);
  expect(withRandomWeights(folder, "", [], 1n).weights).toBeUndefined();
  expect(existsSync("tools/to_safetensors.py")).toBe(false);
});
