/** What a request or a model that cannot be right has to meet: one sentence, of a class of ours. */
import { expect } from "vitest";

export type ErrorClass = new (...args: never[]) => Error;

export async function expectRefusal(attempt: Promise<unknown>, kind: ErrorClass, says: RegExp): Promise<void> {
  const error = await attempt.then(
    () => new Error("was accepted"),
    (e: unknown) => e,
  );
  expect((error as Error).message).toMatch(says);
  expect(error).toBeInstanceOf(kind);
  expect((error as Error).message).not.toMatch(/\n|internal:/);
}
