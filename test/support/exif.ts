/** Byte by byte: the smallest EXIF block with an orientation, and a JPEG file that has it. */

/** A TIFF structure of two tags, the second of them the orientation; "II" is little-endian. */
export function exif(orientation: number, order: "II" | "MM"): number[] {
  const split = (bytes: number) => (v: number) => {
    const big = Array.from({ length: bytes }, (_, i) => (v >>> (8 * (bytes - 1 - i))) & 255);
    return order === "II" ? big.reverse() : big;
  };
  const [short, long] = [split(2), split(4)];
  const make = [...short(0x010f), ...short(2), ...long(4), ...Buffer.from("cam\0")];
  const tag = [...short(0x0112), ...short(3), ...long(1), ...short(orientation), ...short(0)];
  return [...Buffer.from(order), ...short(42), ...long(8), ...short(2), ...make, ...tag, ...long(0)];
}

/** The file with an APP1 segment after its start marker. */
export function withExif(jpeg: Uint8Array, tiff: readonly number[]): Uint8Array {
  const payload = [...Buffer.from("Exif\0\0"), ...tiff];
  const length = payload.length + 2;
  return Uint8Array.from([
    ...jpeg.subarray(0, 2),
    0xff,
    0xe1,
    length >> 8,
    length & 255,
    ...payload,
    ...jpeg.subarray(2),
  ]);
}
