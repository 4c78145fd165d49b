/** Pixels, byte for byte as diffusers makes them. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { toRgba } from "../../src/kernels/sampling/rgba.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, toRgbaCases } from "../cases.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { dim, type RefTensor, tensor } from "../reference/tensor.ts";
import { toRgba as reference } from "../reference/toRgba.ts";
import { constTarget, Inputs, runCalls, targets } from "../support/gpu.ts";

async function bytesOf(target: Target, x: RefTensor): Promise<Uint8Array> {
  const inputs = new Inputs({ ...target, storage: "buffer" });
  const rgba = inputs.output("rgba", x.shape.slice(1, 3), { dtype: "u32" });
  const call = toRgba.lower(inputs.target, "pixels", { x: inputs.add("x", x), rgba }, {});
  const [words] = await runCalls([call], { target, batch: dim(x, 0), inputs: inputs.map, outputs: [rgba] });
  return new Uint8Array(Uint32Array.from((words as RefTensor).data).buffer);
}

/** diffusers' own bytes: test/golden/postprocess/README.md. */
function golden(): { sample: RefTensor; rgb: number[] } {
  const file = readFileSync(new URL("../golden/postprocess/uint8.safetensors", import.meta.url));
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, start).toString());
  const bytes = (name: string) => file.subarray(...header[name].data_offsets.map((o: number) => start + o));
  const sample = bytes("sample");
  const [n, h, w] = [2, 128, 4];
  const nhwc = tensor([n, h, w, 3], (i) => {
    const [c, pixel] = [i % 3, Math.floor(i / 3)];
    return sample.readFloatLE(4 * ((Math.floor(pixel / (h * w)) * 3 + c) * h * w + (pixel % (h * w))));
  });
  return { sample: nhwc, rgb: [...bytes("uint8_nhwc")] };
}

/** The f32 values nearest to where a byte changes, and their neighbours on both sides. */
function edges(): RefTensor {
  const words = Array.from({ length: 256 }, (_, k) => {
    const [word] = new Uint32Array(Float32Array.of(((k + 0.5) / 255) * 2 - 1).buffer);
    return [-2, -1, 0, 1, 2].map((d) => (word as number) + d);
  }).flat();
  return tensor([1, 16, 80, 1], new Float32Array(Uint32Array.from(words).buffer));
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`toRgba (${name})`, () => {
    for (const { n, h, w, c } of [...toRgbaCases, { n: 2, h: 3, w: 7, c: 4 }])
      it(caseName("toRgba", { n, h, w, c }), async () => {
        const x = tensorsOf(caseName("toRgba", { n, h, w, c }))([n, h, w, c]);
        expect(await bytesOf(target, x)).toEqual(new Uint8Array(reference(x)));
      });

    it("two channels are red and green", async () => {
      const x = tensorsOf("two channels")([2, 3, 5, 2]);
      // Blue at −1 is 0.
      const rgb = tensor([2, 3, 5, 3], (i) => (i % 3 === 2 ? -1 : x.data[Math.floor(i / 3) * 2 + (i % 3)]!));
      expect(await bytesOf(target, x)).toEqual(new Uint8Array(reference(rgb)));
    });

    it("gives diffusers' bytes", async () => {
      const { sample, rgb } = golden();
      expect([...(await bytesOf(target, sample))].filter((_, i) => i % 4 !== 3)).toEqual(rgb);
    });

    it("rounds as numpy does wherever a byte changes", async () => {
      expect(await bytesOf(target, edges())).toEqual(new Uint8Array(reference(edges())));
    });

    it("limits what is outside the range", async () => {
      const x = tensor([1, 1, 5, 1], [-1e30, -1.5, 1.5, 1e30, Number.POSITIVE_INFINITY]);
      expect([...(await bytesOf(target, x))].filter((_, i) => i % 4 === 0)).toEqual([0, 0, 255, 255, 255]);
    });
  });
