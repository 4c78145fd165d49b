/** What the command line knows of the world outside, so that tests run it in their own process. */
import { createColors } from "picocolors";
import type { NodeDeviceOptions } from "../node/device.ts";
import type { Device } from "../runtime/device.ts";
import { message, printable, printableJson } from "../runtime/printable.ts";

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Io {
  /** Data only. */
  readonly stdout: OutputStream;
  /** Everything that is said to a person. */
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What was typed after the program's name, for files that remember it; `run` adds it. */
  readonly args?: readonly string[];
  /** Aborts on Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  openDevice(options: NodeDeviceOptions): Promise<Device>;
}

export interface Verbosity {
  quiet?: boolean;
  verbose?: boolean;
}

/** One line, or several. Line feeds and other control characters within a line are shown, they have no effect. */
export type Lines = string | readonly string[];

const printed = (lines: Lines) =>
  [lines]
    .flat()
    .map((line) => `${printable(line)}\n`)
    .join("");

/** Both streams with the levels of `-q` and `-v`. */
export class Terminal {
  readonly colors: ReturnType<typeof createColors>;
  readonly #warned = new Set<string>();
  readonly #began = performance.now();

  constructor(
    readonly io: Io,
    readonly level: Verbosity,
  ) {
    this.colors = colorsFor(io.stderr, io.env);
  }

  /** A progress bar may be drawn; elsewhere lines say how far the work is. */
  get interactive(): boolean {
    return this.io.stderr.isTTY === true && !this.level.quiet;
  }

  data(lines: Lines): void {
    this.io.stdout.write(printed(lines));
  }

  /** One machine-readable object. JSON has no integer limit, so big ones are written digit by digit. */
  json(object: Readonly<Record<string, unknown>>): void {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    const members = entries.map(
      ([key, value]) => `${printableJson(key)}:${typeof value === "bigint" ? value : printableJson(value)}`,
    );
    this.data(`{${members.join(",")}}`);
  }

  /** A check and its outcome, as data. */
  check(ok: boolean, text: string): void {
    const mark = ok ? this.colors.green("ok    ") : this.colors.red("FAILED");
    this.io.stdout.write(`    ${mark} ${printed(text)}`);
  }

  note(lines: Lines): void {
    if (!this.level.quiet) this.say(lines);
  }

  /** What a command has done, and how long it took since it began. */
  done(what: string): void {
    this.note(`${what}, in ${((performance.now() - this.#began) / 1000).toFixed(1)} s`);
  }

  /** One line each, cut where it is longer than an error may be; the same warning once. */
  warn(texts: readonly string[]): void {
    const fresh = [...new Set(texts)].filter((text) => !this.#warned.has(text));
    for (const text of fresh) this.#warned.add(text);
    if (this.level.quiet) return;
    for (const text of fresh) this.io.stderr.write(`${this.colors.yellow("warning:")} ${message(text)}\n`);
  }

  detail(lines: Lines): void {
    if (this.level.verbose) this.say(lines);
  }

  /** On stderr whatever the level. */
  say(lines: Lines): void {
    this.io.stderr.write(printed(lines));
  }

  /** What ends a command; with `--verbose` also where it came from, and what had caused it. */
  failure(sentence: string, error?: unknown): void {
    this.io.stderr.write(`${this.colors.red("ddim:")} ${message(sentence)}\n`);
    if (this.level.verbose) this.say(trace(error));
  }
}

/** How many causes of causes are shown. */
const CAUSES = 8;

/** An error's name, message and stack, then those of its causes. */
function trace(error: unknown): string[] {
  const lines: string[] = [];
  for (let [each, depth] = [error, 0]; each instanceof Error && depth < CAUSES; each = each.cause, depth++) {
    // V8 begins the stack with the message, which may have lines of its own.
    const frames = each.stack?.split("\n").filter((line) => /^ {4}at /.test(line)) ?? [];
    lines.push(`${depth > 0 ? "caused by " : ""}${each.name}: ${message(each.message)}`, ...frames);
  }
  return lines;
}

/** Colours where a person looks, unless NO_COLOR (no-color.org) asks for none. */
export function colorsFor(stream: OutputStream, env: Io["env"]): ReturnType<typeof createColors> {
  return createColors(stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb");
}
