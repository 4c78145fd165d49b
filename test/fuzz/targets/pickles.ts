/** Checkpoints of torch.save: archives, legacy files and bare pickles. */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { openSafetensors } from "../../../src/weights/checkpoint.ts";
import { pickleSource } from "../../../src/weights/pickle/source.ts";
import { memorySource } from "../../weights/memory-source.ts";
import { every, type Target } from "../harness.ts";
import { encode, mutatedBytes } from "../mutate.ts";
import { contents } from "./safetensors.ts";

const FOLDER = "test/weights/pickles";
const seeds = readdirSync(FOLDER)
  .filter((name) => !/\.json$|^long/.test(name))
  .sort()
  .map((name) => new Uint8Array(readFileSync(`${FOLDER}/${name}`)));

const OPCODES = [
  ...[
    "\x80\x02",
    "\x80\x04",
    ".",
    "(",
    ")",
    "]",
    "}",
    "t",
    "l",
    "d",
    "a",
    "e",
    "s",
    "u",
    "0",
    "1",
    "2",
    "R",
    "N",
    "Q",
    "b",
  ],
  ...["\x85", "\x86", "\x87", "\x88", "\x89", "\x90", "\x91", "\x93", "\x94", "q\0", "h\0", "j\0\0\0\0", "K\x05"],
  ...[
    "J\xff\xff\xff\x7f",
    "\x8a\x01\x05",
    "\x8b\xff\xff\xff\x7f",
    "X\x05\0\0\0hello",
    "X\xff\xff\xff\x7f",
    "B\x04\0\0\0abcd",
  ],
  ...[
    "ccollections\nOrderedDict\n",
    "ctorch._utils\n_rebuild_tensor_v2\n",
    "cos\nsystem\n",
    "I1\n",
    "L5L\n",
    "F1e999\n",
  ],
  ...[
    "ctorch\nFloatStorage\n",
    "X\x07\0\0\0storage",
    "X\x01\0\0\x000",
    "X\x03\0\0\0cpu",
    "cbuiltins\nset\n",
    "\x8c\x01a",
    "G?\xf0\0\0\0\0\0\0",
  ],
];
const latin = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** Programs of the pickle machine, and opcodes put into files. */
const programs = fc
  .array(fc.constantFrom(...OPCODES), { maxLength: 40 })
  .map((codes) => latin(`\x80\x02${codes.join("")}.`));
const spliced = fc
  .record({
    bytes: mutatedBytes(seeds, 1),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    code: fc.constantFrom(...OPCODES),
  })
  .map(({ bytes, at, code }) => {
    const [copy, part] = [bytes.slice(), latin(code)];
    const place = Math.floor(at * Math.max(0, copy.length - part.length));
    copy.set(part.subarray(0, copy.length - place), place);
    return copy;
  });

export const pickle: Target = {
  name: "pickle",
  seeds,
  input: fc.oneof(
    { weight: 4, arbitrary: mutatedBytes(seeds) },
    { weight: 3, arbitrary: spliced },
    { weight: 2, arbitrary: programs },
    { weight: 1, arbitrary: fc.constant(encode("PK\x03\x04")) },
  ),
  read: (bytes) =>
    every(
      (["plain", "ema"] as const).map((weights) => async () => {
        const source = await pickleSource(memorySource({ "a.pt": bytes }), "a.pt", { weights });
        return [source.place, source.leftOut, await contents(await openSafetensors(source, "a.pt"))];
      }),
    ),
};
