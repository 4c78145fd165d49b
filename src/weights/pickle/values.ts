/**
 * What a pickle's objects become. Numbers, texts, booleans and None are JavaScript's own (`null`; integers that no
 * number holds are bigint), lists, tuples and sets are arrays, bytes are Uint8Array or, when long, {@link Bytes}.
 */

import type { Bytes } from "./bytes.ts";

/** A dict of any kind: keys and values in turn, as they came. */
export class Dict {
  readonly items: unknown[] = [];

  /** The values of the keys that are texts. Of a key that came twice the later, as in Python. */
  named(): Map<string, unknown> {
    const map = new Map<string, unknown>();
    for (let i = 0; i < this.items.length; i += 2) {
      const key = this.items[i];
      if (typeof key === "string") map.set(key, this.items[i + 1]);
    }
    return map;
  }
}

/** A class or function by its name. It is never looked up anywhere. */
export class Global {
  constructor(readonly name: string) {}
}

/** What a class or function that is not known here would have made: it takes everything and keeps nothing. */
export class Stub {
  constructor(readonly of: string) {}
}

/** A text too long to be a name or a setting, as it is stored. */
export class LongText {
  constructor(readonly utf8: Bytes) {}
}
