/**
 * The lines of a PNG file as they come out of its compression: filters undone (W3C Portable Network Graphics, section 9), handed
 * on in strips of a few lines, so that a picture is never held more than once. A line longer than a strip comes in parts.
 */
import { FileError } from "../runtime/errors.ts";
import { PREDICTORS } from "./png.ts";
import { lineBytes, type PngHeader, type PngPass, pixelBits, pngPasses } from "./pngHeader.ts";

/** Pixels of a strip, a multiple of eight: parts of lines begin on whole bytes. */
const STRIP = 2 ** 16;

export interface PngStrip {
  pass: PngPass;
  /** Place of its first pixel in the pass. */
  x: number;
  y: number;
  width: number;
  height: number;
  /** Lines, each of them a zero (no filter) and its bytes. Valid until the next strip. */
  lines: Uint8Array;
}

export class PngLines {
  private readonly passes: PngPass[];
  /** Bytes from one pixel to the next, at least one: where a filter looks for the left neighbour. */
  private readonly reach: number;
  /** The line above the strip, zeros at first, and the strip's lines, each with its filter's number. */
  private buffer = new Uint8Array(0);
  /** Where the strip's lines begin; 0 in a pass of one line, which may be a whole picture and needs no line above. */
  private first = 0;
  private stride = 0;
  /** Lines that the buffer takes, and bytes of it that are filled. */
  private capacity = 0;
  private filled = 0;
  private y = 0;

  constructor(
    private readonly header: PngHeader,
    private readonly file: string,
    private readonly use: (strip: PngStrip) => void,
  ) {
    this.passes = pngPasses(header);
    this.reach = Math.max(1, pixelBits(header) / 8);
    this.begin();
  }

  /** Whether all lines were fed. */
  get complete(): boolean {
    return this.passes.length === 0;
  }

  /**
   * Takes inflated bytes.
   * @returns How many of them belong to the picture.
   * @throws FileError for a filter that PNG does not have
   */
  feed(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && !this.complete) {
      const full = this.first + this.stride * this.capacity;
      const count = Math.min(bytes.length - at, full - this.filled);
      this.buffer.set(bytes.subarray(at, at + count), this.filled);
      at += count;
      this.filled += count;
      if (this.filled === full) this.end();
    }
    return at;
  }

  /** Makes ready for the strip at this.y of the first pass. */
  private begin(): void {
    const [pass] = this.passes;
    if (!pass) return;
    if (this.y === 0) {
      this.stride = 1 + lineBytes(this.header, pass.width);
      this.capacity = Math.min(pass.height, Math.max(1, Math.floor(STRIP / pass.width)));
      this.first = pass.height > 1 ? this.stride : 0;
      this.buffer = new Uint8Array(this.first + this.stride * this.capacity);
    }
    this.capacity = Math.min(this.capacity, pass.height - this.y);
    this.filled = this.first;
  }

  private end(): void {
    const [pass] = this.passes as [PngPass];
    const { stride, capacity, buffer, first, y } = this;
    for (let line = 0; line < capacity; line++) this.undo(first + line * stride);
    const lines = buffer.subarray(first, first + stride * capacity);
    if (pass.width <= STRIP) this.use({ pass, x: 0, y, width: pass.width, height: capacity, lines });
    else this.useParts(pass, lines);
    if (first > 0) buffer.copyWithin(0, capacity * stride, (1 + capacity) * stride);
    this.y += capacity;
    if (this.y === pass.height) {
      this.passes.shift();
      this.y = 0;
    }
    this.begin();
  }

  private useParts(pass: PngPass, line: Uint8Array): void {
    for (let x = 0; x < pass.width; x += STRIP) {
      const width = Math.min(STRIP, pass.width - x);
      const from = 1 + lineBytes(this.header, x);
      const lines = new Uint8Array(1 + lineBytes(this.header, width));
      lines.set(line.subarray(from, from + lines.length - 1), 1);
      this.use({ pass, x, y: this.y, width, height: 1, lines });
    }
  }

  /** Undoes the filter of the line that begins there, in place, and says that it has none. */
  private undo(start: number): void {
    const { buffer, stride, reach, file } = this;
    const filter = buffer[start] as number;
    const predict = PREDICTORS[filter];
    if (!predict) throw new FileError(file, `is damaged: a row has the filter ${filter}, which PNG does not have`);
    buffer[start] = 0;
    if (filter === 0) return;
    for (let i = 1; i < stride; i++) {
      const at = start + i;
      const up = buffer[at - stride] ?? 0;
      const left = i <= reach ? 0 : (buffer[at - reach] as number);
      const corner = i <= reach ? 0 : (buffer[at - stride - reach] ?? 0);
      buffer[at] = (buffer[at] as number) + predict(left, up, corner);
    }
  }
}
