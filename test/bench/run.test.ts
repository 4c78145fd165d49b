/** `ddim bench` itself: a run of one operation, and what it refuses. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { readResults } from "../../bench/results.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();

test("a run leaves a file with limits, engines and a row of every engine that was asked for", async () => {
  const output = join(scratch, "results.json");
  const only = ["--only", "kernel/attention/8x8x64", "--seconds", "0.01", "--engines", "onnxruntime-cpu"];
  const { code, stdout, stderr } = await ddim(["bench", "--quick", ...only, "-o", output]);
  expect(code, stderr).toBe(0);
  const { limits, engines, rows, command, environment } = readResults(output);
  expect(command).toBe("ddim bench --quick --engines onnxruntime-cpu --only kernel/attention/8x8x64 --seconds 0.01");
  expect(limits.copy).toBeGreaterThan(1e8);
  expect(limits.fma).toBeGreaterThan(1e8);
  expect(environment.adapter.name).not.toBe("");
  expect(rows.map(({ engine }) => engine)).toEqual(["ddim-webgpu", "onnxruntime-cpu"]);
  const [ours, theirs] = rows;
  expect(ours).toMatchObject({ status: "ok", flops: 4 * 64 * 64 * 64 });
  expect(ours?.deviceMs?.median).toBeGreaterThan(0);
  // The peer is some 290 MB and not always installed.
  const missing = engines.find(({ engine }) => engine === "onnxruntime-cpu")?.missing;
  if (missing) expect(theirs).toMatchObject({ status: "missing", note: missing });
  else expect(theirs).toMatchObject({ status: "ok", verifiedAgainst: "onnxruntime-cpu" });
  expect(ours?.nmse).toBeLessThanOrEqual(1e-9);
  expect(stdout).toContain("attention, 64 × 64");
});

test("what cannot be right is refused before anything starts", async () => {
  const refusals: [string[], string][] = [
    [["--quick", "--full"], "--quick and --full exclude each other"],
    [["--seconds", "-1"], "--seconds must be above 0, got -1"],
    [["--engines", "tensorrt"], "--engines tensorrt: there is no such engine"],
  ];
  for (const [args, sentence] of refusals) {
    const { code, stderr } = await ddim(["bench", ...args]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(sentence)]);
  }
  const nowhere = join(scratch, "none/x.json");
  expect(await ddim(["bench", "-o", nowhere])).toMatchObject({ code: 1 });
});

test("a filter that fits nothing is a mistake", async () => {
  const output = join(scratch, "nothing.json");
  const { code, stderr } = await ddim(["bench", "--quick", "--only", "kernel/fft", "-o", output]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("--only kernel/fft: no workload's id contains this")]);
});
