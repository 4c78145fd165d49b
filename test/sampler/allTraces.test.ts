/** Every recorded run is replayed by some test, and every other file is read by one: nothing lies here unused. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const folder = new URL("../golden/schedulers/", import.meta.url);

/** Which names each test takes; several may take one. */
const readers: Record<string, RegExp> = {
  "diffusersTraces.test.ts": /^ddim_/,
  "ddpm.test.ts": /^ddpm_|^exact\/(ddpm|sigma_hat)_/,
  "exactTraces.test.ts": /^exact\/(ddim_|worked_example)/,
  "sampleTraces.test.ts": /^dd[ip]m_|^exact\/(dd[ip]m|sigma_hat)_|^origin\/\w+\/(dd|plms)/,
  "originTraces.test.ts": /^origin\/\w+\/dd/,
  "solverTraces.test.ts": /^(dpmpp|euler)|^exact\/(euler|dpmpp1)_/,
  "inversionTraces.test.ts": /^inverse_|^exact\/invert_|^origin\/openai\/reverse-/,
  "multistep.test.ts": /^origin\/ldm\/plms-b-20/,
};
const tables = [
  "tables",
  "timesteps",
  "add_noise",
  "rng",
  "slerp",
  "solver_keys",
  "origin/timesteps",
  "origin/betas",
  "origin/ldm-schedule-tables",
];

it("every recorded run has a test", () => {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.replace(/\\/g, "/").replace(/\.json$/, ""));
  expect(files.length).toBeGreaterThan(200);
  const unread = files.filter((name) => !tables.includes(name) && !Object.values(readers).some((r) => r.test(name)));
  expect(unread).toEqual([]);
});

it("the tests that are said to read them open the folder", () => {
  for (const name of Object.keys(readers))
    expect(readFileSync(new URL(name, import.meta.url), "utf8"), name).toMatch(/golden|tensors\(/);
});
