/** What the command line knows of the world outside, so that tests run it in their own process. */
import { createColors } from "picocolors";
import type { NodeDeviceOptions } from "../node/device.ts";
import type { Device } from "../runtime/device.ts";

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
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
  openDevice(options: NodeDeviceOptions): Promise<Device>;
}

export interface Verbosity {
  quiet?: boolean;
  verbose?: boolean;
}

/** Both streams with the levels of `-q` and `-v`. Every text is a line, or several, without its last line feed. */
export class Terminal {
  readonly colors: ReturnType<typeof createColors>;

  constructor(
    readonly io: Io,
    readonly level: Verbosity,
  ) {
    this.colors = colorsFor(io.stderr, io.env);
  }

  /** A progress bar may be drawn. */
  get interactive(): boolean {
    return this.io.stderr.isTTY === true && !this.level.quiet;
  }

  data(text: string): void {
    this.io.stdout.write(`${text}\n`);
  }

  /** One machine-readable object. JSON has no integer limit, so big ones are written digit by digit. */
  json(object: Readonly<Record<string, unknown>>): void {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    const members = entries.map(
      ([key, value]) => `${JSON.stringify(key)}:${typeof value === "bigint" ? value : JSON.stringify(value)}`,
    );
    this.data(`{${members.join(",")}}`);
  }

  note(text: string): void {
    if (!this.level.quiet) this.say(text);
  }

  warn(texts: readonly string[]): void {
    for (const text of texts) this.note(`${this.colors.yellow("warning:")} ${text}`);
  }

  detail(text: string): void {
    if (this.level.verbose) this.say(text);
  }

  /** On stderr whatever the level. */
  say(text: string): void {
    this.io.stderr.write(`${text}\n`);
  }
}

/** Colours where a person looks, unless NO_COLOR (no-color.org) asks for none. */
export function colorsFor(stream: OutputStream, env: Io["env"]): ReturnType<typeof createColors> {
  return createColors(stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb");
}
