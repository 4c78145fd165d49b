import { describe, expect, test } from "vitest";
import { WeightError } from "../../src/runtime/errors.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { matchTensors } from "../../src/weights/match.ts";
import { memorySource, rawSafetensors } from "./memory-source.ts";

/** A checkpoint of `[name, dtype, shape]`, empty along a last axis so that it needs no data. */
async function checkpoint(...tensors: [name: string, dtype: string, shape: number[]][]) {
  const header = Object.fromEntries(
    tensors.map(([name, dtype, shape]) => [name, { dtype, shape: [...shape, 0], data_offsets: [0, 0] }]),
  );
  return openCheckpoint(memorySource({ "model.safetensors": rawSafetensors(header) }), "");
}
const expected = (...tensors: [name: string, shape: number[]][]) =>
  tensors.map(([name, shape]) => ({ name, shape: [...shape, 0] }));

function misfit(run: () => unknown): WeightError {
  try {
    run();
  } catch (error) {
    if (error instanceof WeightError) return error;
    throw error;
  }
  throw new Error("was expected to fail");
}

describe("matchTensors", () => {
  test("pairs every parameter, whatever float type it is stored in", async () => {
    const stored = await checkpoint(["a", "F32", [2]], ["b", "F16", [3]], ["c", "BF16", []], ["d", "F64", [1, 2]]);
    const wanted = expected(["d", [1, 2]], ["a", [2]], ["b", [3]], ["c", []]);
    const matched = matchTensors(stored, wanted);
    expect([...matched.keys()]).toEqual(["d", "a", "b", "c"]);
    expect(matched.get("b")).toBe(stored.info("b"));
  });

  test("reports everything at once", async () => {
    const stored = await checkpoint(
      ["a", "F32", [2, 3]],
      ["swapped", "F32", [3, 2]],
      ["deeper", "F32", [2, 2, 1, 1]],
      ["int", "I64", [2]],
      ["extra.one", "F32", [1]],
      ["extra.two", "I64", [1]],
    );
    const wanted = expected(
      ["a", [2, 3]],
      ["gone.x", [1]],
      ["swapped", [2, 3]],
      ["deeper", [2, 2]],
      ["int", [2]],
      ["gone.y", [1]],
    );
    const error = misfit(() => matchTensors(stored, wanted));
    expect(error.file).toBe("model/model.safetensors");
    expect(error.missing).toEqual(["gone.x", "gone.y"]);
    expect(error.mismatched).toEqual([
      { name: "swapped", expected: [2, 3, 0], actual: [3, 2, 0] },
      { name: "deeper", expected: [2, 2, 0], actual: [2, 2, 1, 1, 0] },
    ]);
    expect(error.unexpected).toEqual(["int of type I64", "extra.one", "extra.two"]);
    for (const name of ["gone.x", "gone.y", "swapped", "deeper", "int", "extra.one", "extra.two"])
      expect(error.message).toContain(name);
  });

  test("what is ignored is not unexpected, and only that", async () => {
    const stored = await checkpoint(["a", "F32", [1]], ["ema.a", "F32", [1]], ["other", "F32", [1]]);
    const error = misfit(() => matchTensors(stored, expected(["a", [1]]), { ignore: /^ema\./ }));
    expect(error.unexpected).toEqual(["other"]);
    expect(matchTensors(stored, expected(["a", [1]]), { ignore: /^(ema\.|other$)/ }).size).toBe(1);
  });

  test("speaks the checkpoint's own names", async () => {
    const block = "mid_block.attentions.0";
    const stored = await checkpoint(
      [`${block}.query.weight`, "F32", [4, 4]],
      [`${block}.key.weight`, "F32", [4, 5]],
      [`${block}.proj_attn.bias`, "I32", [4]],
      ["attentions.7.value.bias", "F32", [4]],
    );
    const wanted = expected(
      [`${block}.to_q.weight`, [4, 4]],
      [`${block}.to_k.weight`, [4, 4]],
      [`${block}.to_v.weight`, [4, 4]],
      [`${block}.to_out.0.bias`, [4]],
      ["conv_in.weight", [4]],
    );
    const error = misfit(() => matchTensors(stored, wanted));
    expect(error.missing).toEqual([`${block}.value.weight`, "conv_in.weight"]);
    expect(error.mismatched.map((tensor) => tensor.name)).toEqual([`${block}.key.weight`]);
    expect(error.unexpected).toEqual([`${block}.proj_attn.bias of type I32`, "attentions.7.value.bias"]);
  });
});
