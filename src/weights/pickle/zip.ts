/**
 * The parts of a zip archive, as `torch.save` has written since 1.6 (PKWARE's APPNOTE 6.3, with the 64-bit extension).
 * Only the directory at the end is read; a part's own header is when the part is.
 */

import { FileError } from "../../runtime/errors.ts";
import { type Bytes, inflated, slice } from "./bytes.ts";

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const LOCATOR_64 = 0x07064b50;
const END_64 = 0x06064b50;

/** The end's own 22 bytes and the longest comment. */
const TAIL_BYTES = 22 + 0xffff;
/** Real archives of 2000 tensors have a directory of 200 KiB. */
const MAX_DIRECTORY_BYTES = 16 * 2 ** 20;
const MAX_PARTS = 100_000;
/** Inflated bytes, for each byte of the file and to begin with. Weights hardly shrink at all. */
const INFLATION = 64;
const INFLATION_BASE = 16 * 2 ** 20;

/** The parts by name. @throws FileError for an archive that is cut off, damaged, encrypted or a bomb */
export async function zipParts(archive: Bytes, file: string, signal?: AbortSignal): Promise<Map<string, Bytes>> {
  const damaged = (what: string) => new FileError(file, `is a damaged zip archive: ${what}`);
  const { start, size, count } = await findDirectory(archive, file, signal);
  if (size > MAX_DIRECTORY_BYTES || count > MAX_PARTS)
    throw new FileError(file, `has ${count} parts, too many to be weights`);
  if (start + size > archive.size) throw damaged("its directory lies outside");
  const bytes = new Uint8Array(size);
  await archive.readInto(start, bytes, signal);
  const view = new DataView(bytes.buffer);
  const entries: Entry[] = [];
  for (let at = 0; entries.length < count; ) {
    if (at + 46 > size || view.getUint32(at, true) !== CENTRAL) throw damaged("its directory is shorter than it says");
    const lengths = [28, 30, 32].map((offset) => view.getUint16(at + offset, true)) as [number, number, number];
    const end = at + 46 + lengths[0] + lengths[1] + lengths[2];
    if (end > size) throw damaged("its directory is shorter than it says");
    entries.push(readEntry(bytes, at, lengths));
    at = end;
  }
  checkEntries(entries, start, archive.size, file);
  const parts = new Map<string, Bytes>();
  for (const entry of entries) {
    if (parts.has(entry.name)) throw damaged(`it holds ${JSON.stringify(entry.name)} twice`);
    const stored = lazily(archive, entry, damaged);
    parts.set(entry.name, entry.method === 0 ? stored : inflated(stored, entry.size, file));
  }
  return parts;
}

interface Entry {
  readonly name: string;
  readonly encrypted: boolean;
  /** 0: stored as it is, 8: deflated. */
  readonly method: number;
  readonly compressed: number;
  readonly size: number;
  /** Where its own header begins. */
  readonly header: number;
}

/** Where the directory is. Numbers that do not fit their 16 or 32 bits are in the 64-bit extension's own record. */
async function findDirectory(archive: Bytes, file: string, signal?: AbortSignal) {
  const tail = new Uint8Array(Math.min(archive.size, TAIL_BYTES));
  const from = archive.size - tail.byteLength;
  await archive.readInto(from, tail, signal);
  const view = new DataView(tail.buffer);
  let at = tail.byteLength - 22;
  while (at >= 0 && !(view.getUint32(at, true) === END && at + 22 + view.getUint16(at + 20, true) === tail.byteLength))
    at--;
  if (at < 0) throw new FileError(file, "is cut off: it begins as a zip archive and has no directory at its end");
  const small = {
    count: view.getUint16(at + 10, true),
    size: view.getUint32(at + 12, true),
    start: view.getUint32(at + 16, true),
  };
  if (at < 20 || view.getUint32(at - 20, true) !== LOCATOR_64) return small;
  const record = new Uint8Array(56);
  const recordAt = uint64(view, at - 12);
  if (recordAt + record.byteLength > archive.size)
    throw new FileError(file, "is a damaged zip archive: its end points outside");
  await archive.readInto(recordAt, record, signal);
  const large = new DataView(record.buffer);
  if (large.getUint32(0, true) !== END_64)
    throw new FileError(file, "is a damaged zip archive: its end points elsewhere");
  return { count: uint64(large, 32), size: uint64(large, 40), start: uint64(large, 48) };
}

function readEntry(bytes: Uint8Array, at: number, [nameLength, extraLength]: readonly [number, number, number]): Entry {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
  let size = view.getUint32(at + 24, true);
  let compressed = view.getUint32(at + 20, true);
  let header = view.getUint32(at + 42, true);
  const extraEnd = at + 46 + nameLength + extraLength;
  for (let extra = at + 46 + nameLength; extra + 4 <= extraEnd; ) {
    const length = view.getUint16(extra + 2, true);
    if (view.getUint16(extra, true) === 1) {
      let place = extra + 4;
      const end = Math.min(place + length, extraEnd);
      const wide = (value: number) => {
        if (value !== 0xffffffff || place + 8 > end) return value;
        place += 8;
        return uint64(view, place - 8);
      };
      size = wide(size);
      compressed = wide(compressed);
      header = wide(header);
    }
    extra += 4 + length;
  }
  const encrypted = (view.getUint16(at + 8, true) & 1) !== 0;
  return { name, encrypted, method: view.getUint16(at + 10, true), compressed, size, header };
}

function checkEntries(entries: readonly Entry[], directory: number, fileSize: number, file: string): void {
  let inflation = 0;
  let end = 0;
  for (const entry of [...entries].sort((a, b) => a.header - b.header)) {
    const { name, encrypted, method, compressed, size, header } = entry;
    const fail = (problem: string): never => {
      throw new FileError(file, `part ${JSON.stringify(name)} of the zip archive ${problem}`);
    };
    if (encrypted) fail("is encrypted");
    if (method !== 0 && method !== 8) fail(`is packed by method ${method}: only stored and deflated parts are read`);
    if (method === 0 && compressed !== size) fail("is damaged: its two lengths differ");
    if (header < end) fail("overlaps another");
    end = header + 30 + compressed;
    if (end > directory) fail("is cut off: it would end outside the file");
    if (method === 8) inflation += size;
    if (inflation > INFLATION * fileSize + INFLATION_BASE)
      fail(`would inflate to ${inflation} bytes with those before it, of a file of ${fileSize}`);
  }
}

/** A part as stored. Its own header, which tells where its bytes begin, is read with the first of them. */
function lazily(archive: Bytes, { compressed, header }: Entry, damaged: (what: string) => FileError): Bytes {
  let begin: number | undefined;
  return {
    size: compressed,
    async readInto(start, target, signal) {
      if (begin === undefined) {
        const own = new Uint8Array(30);
        await archive.readInto(header, own, signal);
        const view = new DataView(own.buffer);
        const data = header + 30 + view.getUint16(26, true) + view.getUint16(28, true);
        if (view.getUint32(0, true) !== LOCAL || data + compressed > archive.size)
          throw damaged("a part is not where its directory says");
        begin = data;
      }
      await slice(archive, begin, compressed).readInto(start, target, signal);
    },
  };
}

/** Beyond 2^53 it is not exact, and outside every file. */
function uint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}
