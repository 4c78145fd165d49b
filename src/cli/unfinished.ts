/** Work that ended early, or without everything that it was to write: why, and what is there all the same. */
export class Unfinished extends Error {
  override name = "Unfinished";

  /** @param kept for people: what is written, what is missing, how to go on */
  constructor(
    override readonly cause: unknown,
    readonly kept: string,
  ) {
    super(kept, { cause });
  }
}

/** The error as it is where there is nothing to be said. */
export const unfinished = (cause: unknown, ...kept: readonly (string | undefined)[]): unknown => {
  const said = kept.filter((text) => text !== undefined);
  return said.length > 0 ? new Unfinished(cause, said.join("; ")) : cause;
};
