/** What a section of `npm run torture` is, and the loop that all of them run in. */
import process from "node:process";
import { DdimError } from "../../src/runtime/errors.ts";
import { Random } from "./random.ts";

/** What came of one try. */
export interface Tried {
  /** Whether something was ended before it was done. */
  readonly cut?: boolean;
  /** Runs that went on from a saved state, and were compared bit by bit. */
  readonly resumed?: number;
}

/** What is tormented. */
export interface Victim {
  /** @throws whatever is not as it should be */
  attempt(random: Random): Promise<Tried>;
  /** Tidies up, and looks at what is left. @returns what else the table says */
  end(): Promise<string>;
}

export interface Section {
  readonly name: string;
  readonly what: string;
  /** Tries of `npm run torture`, and of `npm test`. */
  readonly tries: number;
  readonly few: number;
  /** Why it cannot be tried here. */
  readonly skipped?: string;
  begin(): Promise<Victim>;
}

export interface Report {
  readonly name: string;
  readonly what: string;
  tries: number;
  cut: number;
  resumed: number;
  seconds: number;
  note: string;
  /** Of which try, or "end". */
  readonly findings: { readonly at: number | "end"; readonly problem: string }[];
}

/** Something else than what is promised. */
export class Finding extends Error {
  override name = "Finding";
}

/** @throws Finding */
export function demand(isSo: boolean, problem: string, cause?: unknown): asserts isSo {
  if (!isSo) throw new Finding(problem, { cause });
}

/** Refuses what is neither one of the package's errors nor somebody's own. @throws Finding */
export function demandTyped(error: unknown): asserts error is DdimError {
  const isTyped = error instanceof DdimError && !error.message.startsWith("internal");
  demand(isTyped, `an untyped error: ${String(error)}`, error);
}

/** How a call ends. */
export type Settled<T> = { readonly value: T } | { readonly error: unknown };

export const settle = <T>(call: () => Promise<T>): Promise<Settled<T>> =>
  Promise.resolve()
    .then(call)
    .then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );

/** Findings after which a section is left alone. */
const MOST_FINDINGS = 8;

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const { cause } = error;
  return `${error.stack}${cause instanceof Error ? `\ncaused by ${cause.stack}` : ""}`;
}

/** @param from number of the first try */
export async function torture(section: Section, tries: number, seed: number, from = 0): Promise<Report> {
  const { name, what } = section;
  const report: Report = { name, what, tries: 0, cut: 0, resumed: 0, seconds: 0, note: "", findings: [] };
  const began = performance.now();
  const victim = await section.begin();
  for (let i = from; i < from + tries && report.findings.length < MOST_FINDINGS; i++) {
    report.tries++;
    try {
      const { cut = false, resumed = 0 } = await victim.attempt(new Random(seed, name, i));
      report.cut += Number(cut);
      report.resumed += resumed;
    } catch (error) {
      report.findings.push({ at: i, problem: textOf(error) });
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${name} ${report.tries} of ${tries}  `);
  }
  try {
    report.note = await victim.end();
  } catch (error) {
    report.findings.push({ at: "end", problem: textOf(error) });
  }
  report.seconds = (performance.now() - began) / 1000;
  return report;
}
