/** zlib streams by what browsers and Node have in common: CompressionStream and DecompressionStream. */

/** RFC 1950 compression of the bytes. */
export const deflate = (bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> =>
  through(bytes, new CompressionStream("deflate"), Number.POSITIVE_INFINITY);

/** The reverse; rejects when the stream is damaged, or as soon as it yields more than `limit` bytes. */
export const inflate = (bytes: Uint8Array, limit: number): Promise<Uint8Array<ArrayBuffer>> =>
  through(bytes, new DecompressionStream("deflate"), limit);

async function through(bytes: Uint8Array, stream: GenericTransformStream, limit: number) {
  const reader = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(stream).getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value);
    size += next.value.length;
    if (size <= limit) continue;
    await reader.cancel();
    throw new RangeError(`more than ${limit} bytes`);
  }
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
