/** A pickle of a few bytes can ask for any amount of memory: what it is made to hold is counted. */

import { FileError } from "../../runtime/errors.ts";

const MAX_OBJECTS = 400_000;
const MAX_ITEMS = 3_000_000;
const MAX_BYTES = 64 * 2 ** 20;

/** What one pickle may still cost. */
export class Budget {
  #objects = MAX_OBJECTS;
  #items = MAX_ITEMS;
  #bytes = MAX_BYTES;

  constructor(private readonly file: string) {}

  /** @throws FileError when it is more than any checkpoint needs */
  spend(cost: { objects?: number; items?: number; bytes?: number }): void {
    this.#objects -= cost.objects ?? 0;
    this.#items -= cost.items ?? 0;
    this.#bytes -= cost.bytes ?? 0;
    if (this.#objects < 0 || this.#items < 0 || this.#bytes < 0)
      throw new FileError(this.file, "asks for more objects than any checkpoint has: it is not read on");
  }
}
