/** Records: what is packed is what WGSL reads, and what the docs say. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { imageRecord, runRecord, updateRecord } from "../../src/kernels/sampling/records.ts";
import { frameRecord } from "../../src/runtime/frame.ts";
import { defineKernel } from "../../src/runtime/kernel.ts";
import { type Fields, Struct } from "../../src/runtime/struct.ts";
import { tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runCalls } from "../support/gpu.ts";

const types = ["f32", "u32", "flag", "vec3f", "vec4f"] as const;
type Type = (typeof types)[number];

/** A value that no other field of the record has. */
const sample = (type: Type, i: number) => {
  const number = 10 * i + 1;
  if (type === "flag") return i % 2 === 0;
  return type.startsWith("vec") ? [number, number + 1, number + 2, number + 3].slice(0, Number(type[3])) : number;
};

/** Reads every field of the second record of `r` back, by the reader of vectors or field by field. */
async function readBack(record: Struct, access: "in" | "inout"): Promise<number[]> {
  const fields = Object.entries(record.fields);
  const read = (one: string) =>
    fields.map(([name, [type]], i) => {
      const value = `${one}.${name}`;
      const whole = { vec3f: `vec4f(${value}, 0.0)`, vec4f: value, f32: `vec4f(${value}, vec3f())` };
      return `y[${i}] = ${whole[type as "f32"] ?? `vec4f(f32(${value}), vec3f())`};`;
    });
  const kernel = defineKernel({
    name: "reader",
    tensors: { r: `${access} *`, y: "out *" },
    records: { r: record },
    variants: [
      {
        name: "direct",
        workgroup: () => 1,
        grid: () => [1, 1, 1],
        wgsl: (k) =>
          `${k.header}\n@compute @workgroup_size(1)\nfn main() { ${k.prelude} ${read(k.load("r", "1u")).join("\n")} }`,
      },
    ],
    cost: () => ({ flops: 0, bytes: 0 }),
  });
  const inputs = new Inputs(constTarget);
  const one = Object.fromEntries(fields.map(([name, [type]], i) => [name, sample(type as Type, i)]));
  const words = record.pack([{}, one]);
  const r = inputs.add("r", tensor([words.length], [...words]), { batched: false, dtype: "u32" });
  const y = inputs.output("y", [fields.length, 4]);
  const call = kernel.lower(constTarget, "reader", { r, y }, {});
  const [result] = await runCalls([call], { target: constTarget, batch: 1, inputs: inputs.map, outputs: [y] });
  return [...(result as { data: Float64Array }).data];
}

describe("a record", () => {
  it("has its fields where WGSL looks for them, in any order", () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...types), { minLength: 1, maxLength: 7 }), async (list) => {
        const fields: Fields = Object.fromEntries(list.map((type, i) => [`f${i}`, [type, "", ""] as const]));
        const record = new Struct("Some", fields);
        const wanted = list.flatMap((type, i) => [...[sample(type, i)].flat().map(Number), 0, 0, 0].slice(0, 4));
        for (const access of ["in", "inout"] as const) expect(await readBack(record, access)).toEqual(wanted);
      }),
      { numRuns: 12, seed: 1 },
    ));

  it("may end in an array of others", () => {
    const words = runRecord.pack([{ seedLow: 7, seedHigh: 8, images: [{ number: 5 }, { number: 6, guidance: 1 }] }]);
    expect([...words]).toEqual([7, 8, 0, 0, 5, 0, 0, 0, 6, 0, 0x3f800000, 0]);
    expect(runRecord.wgsl).toMatch(/^struct Image \{.*\}\nstruct Run \{.* images: array<Image> \}$/);
  });

  it("says at which byte a field lies", () => {
    expect([frameRecord.offset("row"), frameRecord.size]).toEqual([0, 16]);
    expect([updateRecord.offset("cursor"), updateRecord.offset("weights"), updateRecord.size]).toEqual([60, 64, 96]);
  });

  it.each([updateRecord, runRecord, imageRecord, frameRecord] as Struct[])("$name is in docs/sampler.md", (record) => {
    expect(readFileSync("docs/sampler.md", "utf8")).toContain(`\n${record.markdown}\n`);
  });
});
