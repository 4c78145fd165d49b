/** `ddim sample --sweep`: one x_T under classes, etas, guidance scales and numbers of steps. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readPngText } from "../../src/image/pngText.ts";
import { readPng } from "../../src/node/png.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (name: string) => join(scratch, name);

async function run(...args: string[]) {
  const outcome = await ddim(["sample", "--seed", "4", "-q", ...args]);
  expect(outcome.stderr).not.toContain("ddim:");
  expect(outcome.code).toBe(0);
  return outcome;
}

/** Picture of a cell, without its caption. */
async function cellOf(name: string, row: number, column: number): Promise<number[]> {
  const { width, data } = await readPng(at(name));
  const rows = Array.from({ length: 128 }, (_, y) => 4 * (((128 + 14 + 8) * row + 14 + y) * width + 136 * column));
  return rows.flatMap((start) => [...data.subarray(start, start + 4 * 128)]);
}

test("rows of classes, columns of guidance scales; a cell is the picture of its own run, the file says the command", async () => {
  const { stdout } = await run(
    "--sweep",
    "-c",
    "plain,hat",
    "--guidance",
    "1,3",
    "-S",
    "3",
    "--json",
    "-o",
    at("g.png"),
  );
  const choices = [0, 2].flatMap((id) => [1, 3].map((guidance) => ({ class: id, eta: 0, guidance, steps: 3 })));
  expect(JSON.parse(stdout)).toEqual({ seed: 4, images: [at("g.png")], runs: choices });
  expect(await readPng(at("g.png"))).toMatchObject({ width: 2 * 128 + 8, height: 2 * (128 + 14) + 8 });
  for (const i of [0, 3]) {
    const { class: id, guidance } = choices[i]!;
    const own = ["-c", String(id), "--guidance", String(guidance), "-S", "3"];
    await run(...own, "-o", at("one.png"), "--overwrite");
    expect(await cellOf("g.png", i >> 1, i % 2)).toEqual([...(await readPng(at("one.png"))).data]);
  }
  const { command } = await readPngText(readFileSync(at("g.png")));
  expect(command).toBe("ddim sample -m pixel-avatars-16 --sweep -S 3 --seed 4 -c 0,2 --guidance 1,3 -o g.png");
});

test("refine: with more steps the image of one x_T comes to rest, and the distances say so", async () => {
  const steps = ["--sweep", "--spacing", "trailing", "-c", "0", "-S", "10,20,50,100"];
  const { stdout } = await run(...steps, "-o", at("refine.png"));
  const [head, ...lines] = stdout.trimEnd().split("\n");
  expect(head).toMatch(/^ *S +distance to the last of the row$/);
  expect(lines.map((line) => Number.parseInt(line, 10))).toEqual([10, 20, 50, 100]);
  const [ten, twenty, fifty, hundred] = lines.map((line) => Number(line.trim().split(/ +/)[1])) as [
    number,
    number,
    number,
    number,
  ];
  expect(twenty).toBeLessThan(0.8 * ten);
  expect(fifty).toBeLessThan(0.8 * twenty);
  expect(fifty).toBeGreaterThan(0);
  expect(hundred).toBe(0);
});

test.each([
  [["--save-state", "x.safetensors"], "--sweep does not go together with --save-state"],
  [["--antithetic"], "--sweep does not go together with --antithetic"],
  [["--timesteps", "900,500"], "--sweep does not go together with --timesteps"],
  [["--eta", "0,3"], "eta"],
])("sweep %j: %s", async (args, message) => {
  const { code, stderr, devices } = await ddim(["sample", "--sweep", "-o", at("never.png"), ...args]);
  expect([code, devices]).toEqual([2, 0]);
  expect(stderr).toContain(message);
});
