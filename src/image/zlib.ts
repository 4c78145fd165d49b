/** zlib streams by what browsers and Node have in common: CompressionStream and DecompressionStream. */

/** RFC 1950 compression of the bytes. */
export const deflate = (bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> =>
  through(bytes, new CompressionStream("deflate"), Number.POSITIVE_INFINITY);

/** The reverse; rejects when the stream is damaged, or as soon as it yields more than `limit` bytes. */
export const inflate = (bytes: Uint8Array, limit: number): Promise<Uint8Array<ArrayBuffer>> =>
  through(bytes, new DecompressionStream("deflate"), limit);

/**
 * How many bytes a stream in parts yields before it ends or is damaged; looks no further than the first beyond `limit`. What
 * they yield is not kept.
 */
export async function inflatedLength(parts: readonly Uint8Array[], limit: number): Promise<number> {
  let size = 0;
  try {
    for await (const { length } of outputOf(parts, new DecompressionStream("deflate"))) {
      size += length;
      if (size > limit) break;
    }
  } catch {
    // As far as it goes.
  }
  return size;
}

async function* outputOf(parts: readonly Uint8Array[], stream: GenericTransformStream): AsyncGenerator<Uint8Array> {
  const reader = new Blob(parts as Uint8Array<ArrayBuffer>[]).stream().pipeThrough(stream).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => {});
  }
}

async function through(bytes: Uint8Array, stream: GenericTransformStream, limit: number) {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of outputOf([bytes], stream)) {
    parts.push(part);
    size += part.length;
    if (size > limit) throw new RangeError(`more than ${limit} bytes`);
  }
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
