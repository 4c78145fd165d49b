/** The segments of a JPEG file (ITU-T T.81, annex B): what it says of its pixels, and whether it is whole. */
import { FileError } from "../runtime/errors.ts";

const EOI = 0xd9;
/** Start of scan: pixel data follow. */
export const SOS = 0xda;
const DRI = 0xdd;

export interface JpegSegment {
  marker: number;
  /** Parameters, without marker and length. */
  data: Uint8Array;
  /** Of a scan: how many restart markers are among its data. */
  restarts: number;
  /** Where the next begins. */
  end: number;
}

const isFrame = (marker: number) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
const isRestart = (marker: number) => marker >= 0xd0 && marker <= 0xd7;

/**
 * Segments up to the end of the image, or as far as the bytes reach. What stands between them and is no marker is passed
 * over, as are fill bytes (0xFF before a marker, B.1.1.2), and so does every decoder.
 */
export function* jpegSegments(bytes: Uint8Array): Generator<JpegSegment> {
  for (let at = 2; ; ) {
    at = bytes.indexOf(0xff, at);
    while (at >= 0 && bytes[at + 1] === 0xff) at++;
    const marker = bytes[at + 1];
    if (at < 0 || marker === undefined) return;
    at += 2;
    if (marker === EOI) {
      yield { marker, data: bytes.subarray(at, at), restarts: 0, end: at };
      return;
    }
    // Without parameters: stuffed zeros, TEM, restarts, a second start.
    if (marker <= 0x01 || isRestart(marker) || marker === 0xd8) continue;
    const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    if (at + length > bytes.length || length < 2) return;
    const data = bytes.subarray(at + 2, at + length);
    at += length;
    let restarts = 0;
    if (marker === SOS) {
      // Entropy-coded data reach to the next marker that is neither a stuffed zero nor a restart.
      for (at = bytes.indexOf(0xff, at); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
        const next = bytes[at + 1] ?? 0;
        if (isRestart(next)) restarts++;
        else if (next !== 0 && next !== 0xff) break;
      }
      if (at < 0) return;
    }
    yield { marker, data, restarts, end: at };
  }
}

/** @param problem continues "it …" */
export const undecodable = (file: string, problem?: string, cause?: unknown): FileError =>
  new FileError(
    file,
    `is a JPEG file that cannot be decoded, cut off or damaged${problem === undefined ? "" : `: it ${problem}`}`,
    { cause },
  );

export interface JpegHeader {
  width: number;
  height: number;
  /** Identifiers of the components, with their sampling factors. */
  components: readonly { id: number; horizontal: number; vertical: number }[];
}

/**
 * Reads up to the frame's header; `bytes` may be the beginning of a file.
 * @throws FileError where there is none, or one that no decoder of ours reads
 */
export function readJpegHeader(bytes: Uint8Array, file: string): JpegHeader {
  for (const { marker, data } of jpegSegments(bytes)) {
    if (marker === SOS || marker === EOI) break;
    if (isFrame(marker)) return parseFrame(marker, data, file);
  }
  throw undecodable(file, `is cut off at byte ${bytes.length}, before its size`);
}

function parseFrame(marker: number, data: Uint8Array, file: string): JpegHeader {
  const [precision = 0, h1 = 0, h0 = 0, w1 = 0, w0 = 0, count = 0] = data;
  // Baseline, extended and progressive with Huffman codes; the rest is lossless, hierarchical or arithmetic.
  if (marker > 0xc2) throw new FileError(file, `is a JPEG file of a kind that is not read (SOF${marker - 0xc0})`);
  if (precision !== 8) throw new FileError(file, `is a JPEG file of ${precision} bits a sample; only 8 are read`);
  if (data.length !== 6 + 3 * count) throw undecodable(file, "has no valid frame header");
  const components = Array.from({ length: count }, (_, i) => {
    const [id = 0, sampling = 0] = data.subarray(6 + 3 * i);
    return { id, horizontal: sampling >> 4, vertical: sampling & 15 };
  });
  const valid = ({ horizontal: h, vertical: v }: (typeof components)[number]) => h >= 1 && h <= 4 && v >= 1 && v <= 4;
  if (!components.every(valid)) throw undecodable(file, "has no valid sampling factors");
  if (![1, 3, 4].includes(count))
    throw new FileError(file, `is a JPEG file of ${count} components; 1, 3 and 4 are read`);
  const height = (h1 << 8) | h0;
  if (height === 0)
    throw new FileError(file, "is a JPEG file that tells its height after its pixels, which is not read");
  return { width: (w1 << 8) | w0, height, components };
}

/** Scans of a file: real ones have a dozen, and each costs a pass over all pixels. */
const MAX_SCANS = 100;

/**
 * Goes through the whole file.
 * @returns Bytes after its end.
 * @throws FileError when it has no end, more scans than any encoder writes, or scans and restart intervals that lack data:
 *   decoders leave such pixels grey and say nothing
 */
export function checkJpegScans(bytes: Uint8Array, header: JpegHeader, file: string): number {
  const missing = new Set(header.components.map(({ id }) => id));
  let scans = 0;
  let interval = 0;
  for (const { marker, data, restarts, end } of jpegSegments(bytes)) {
    if (marker === EOI) {
      if (missing.size > 0) throw undecodable(file, `is cut off: ${missing.size} of its components have no data`);
      return bytes.length - end;
    }
    if (marker === DRI) interval = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
    if (marker !== SOS) continue;
    if (++scans > MAX_SCANS) throw new FileError(file, `has more than ${MAX_SCANS} JPEG scans`);
    const [count = 0] = data;
    const ids = Array.from({ length: count }, (_, i) => data[1 + 2 * i] as number);
    const expected = interval === 0 ? 0 : Math.ceil(unitsOf(header, ids) / interval) - 1;
    if (restarts < expected) throw undecodable(file, `is cut off: a scan has ${restarts} of ${expected} restarts`);
    // Later scans of a progressive file refine what the first, which begins at coefficient 0, has laid down.
    if (data[1 + 2 * count] === 0) for (const id of ids) missing.delete(id);
  }
  throw undecodable(file, `is cut off at byte ${bytes.length}`);
}

/** Minimum coded units of a scan: of several components as many blocks of each as its factors say, of one a block (A.2). */
function unitsOf({ width, height, components }: JpegHeader, ids: readonly number[]): number {
  const [h, v] = [Math.max(...components.map((c) => c.horizontal)), Math.max(...components.map((c) => c.vertical))];
  const only = ids.length === 1 ? components.find(({ id }) => id === ids[0]) : undefined;
  const blocks = (length: number, own: number, most: number) => Math.ceil(Math.ceil((length * own) / most) / 8);
  if (only) return blocks(width, only.horizontal, h) * blocks(height, only.vertical, v);
  return Math.ceil(width / (8 * h)) * Math.ceil(height / (8 * v));
}
