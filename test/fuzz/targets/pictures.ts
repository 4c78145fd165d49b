/** JPEG and WebP files. */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import type { Target } from "../harness.ts";
import { mutatedBytes } from "../mutate.ts";
import { picture } from "./png.ts";

const GOLDEN = "test/golden/pictures";
const filesOf = (ending: string) =>
  readdirSync(GOLDEN)
    .filter((name) => name.endsWith(ending) && !name.startsWith("animated"))
    .sort()
    .map((name) => new Uint8Array(readFileSync(`${GOLDEN}/${name}`)));

/** A segment somewhere between those of a JPEG file: tables, frames, scans and restarts where none belong. */
function withSegments(seeds: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const segment = fc.record({
    marker: fc.constantFrom(0xc0, 0xc1, 0xc2, 0xc4, 0xd0, 0xd8, 0xd9, 0xda, 0xdb, 0xdd, 0xe0, 0xe1, 0xee, 0xfe),
    at: fc.nat(),
    content: fc.uint8Array({ maxLength: 24 }),
    times: fc.constantFrom(1, 1, 1, 2, 120),
  });
  return fc
    .record({ bytes: mutatedBytes(seeds, 1), segments: fc.array(segment, { minLength: 1, maxLength: 3 }) })
    .map(({ bytes, segments }) =>
      segments.reduce((file, { marker, at, content, times }) => {
        const places = [...file.keys()].filter((i) => file[i] === 0xff && (file[i + 1] ?? 0) >= 0xc0);
        const place = places[at % places.length] ?? file.length;
        const one = [0xff, marker, 0, content.length + 2, ...content];
        const inserted = Array.from({ length: times }, () => one).flat();
        return Uint8Array.from([...file.subarray(0, place), ...inserted, ...file.subarray(place)]);
      }, bytes),
    );
}

const [jpegs, webps] = [filesOf(".jpg"), filesOf(".webp")];

export const jpeg: Target = {
  name: "jpeg",
  seeds: jpegs,
  input: fc.oneof({ weight: 3, arbitrary: mutatedBytes(jpegs) }, { weight: 1, arbitrary: withSegments(jpegs) }),
  read: (bytes) => picture("fuzz.jpg", bytes),
};

export const webp: Target = {
  name: "webp",
  seeds: webps,
  input: mutatedBytes(webps),
  read: (bytes) => picture("fuzz.webp", bytes),
};
