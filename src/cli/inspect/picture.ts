/** Pictures: their size, and the parameters that one was made with: ours, those of other tools, or other texts. */
import type { Command } from "commander";
import { pictureKind, pictureSize } from "../../image/header.ts";
import {
  INFOTEXT_KEYWORD,
  JSON_KEYWORD,
  parseInfotext,
  parseParameters,
  parsePrompts,
} from "../../image/parameters.ts";
import { readAt, withFile } from "../../node/file.ts";
import { readPngTextFile } from "../../node/pngText.ts";
import { FileError } from "../../runtime/errors.ts";
import type { OutputFlags } from "../flags.ts";
import type { Terminal } from "../io.ts";
import { commandIn, commandLines, isCommand } from "./command.ts";

/** Where the size of a picture stands: profiles and previews may come before it, and take kilobytes. */
const HEAD = 4 * 2 ** 20;

const NAMES = { png: "PNG", jpeg: "JPEG", webp: "WebP" };

/** Reads the header and the texts, not the pixels. */
export const readHeader = (file: string) =>
  withFile(file, async (handle, size) => {
    const head = await readAt(handle, 0, Math.min(size, HEAD));
    const kind = pictureKind(head);
    if (!kind) throw new FileError(file, "is not a PNG, JPEG or WebP file");
    const { width, height } = pictureSize(head, kind, file);
    return { kind, width, height, text: kind === "png" ? await readPngTextFile(handle, size, file) : {} };
  });

/** @param program whose commands may be shown as such */
export async function inspectPicture(
  terminal: Terminal,
  file: string,
  program: Command,
  flags: Pick<OutputFlags, "json">,
): Promise<void> {
  const { kind, width, height, text } = await readHeader(file);
  const parameters = ownParameters(terminal, text, file);
  const infotext = text[INFOTEXT_KEYWORD];
  const { prompt, negativePrompt: negative_prompt } =
    parameters || infotext === undefined ? {} : parsePrompts(infotext);
  if (flags.json) {
    const prompts = { prompt, negative_prompt };
    const command = commandIn(program, parameters?.command ?? text.command, parameters)?.text;
    terminal.json({ file, kind, width, height, command, parameters: parameters ?? null, ...prompts, text });
    return;
  }
  terminal.data(`${file}: ${NAMES[kind]}, ${width} x ${height}`);
  if (prompt !== undefined) terminal.data(`  prompt: ${prompt}`);
  if (negative_prompt !== undefined) terminal.data(`  negative prompt: ${negative_prompt}`);
  const fields = parameters ?? (infotext === undefined ? {} : parseInfotext(infotext));
  for (const [key, value] of Object.entries(fields)) {
    const shown = Array.isArray(value) ? value.join(" ") : typeof value === "object" ? JSON.stringify(value) : value;
    terminal.data(isCommand(key) ? commandLines(program, String(value), parameters) : `  ${key}: ${shown}`);
  }
  for (const [keyword, value] of Object.entries(text))
    if (keyword !== INFOTEXT_KEYWORD && !(keyword === JSON_KEYWORD && parameters) && value !== parameters?.command)
      terminal.data(isCommand(keyword) ? commandLines(program, value) : `  ${keyword}: ${value}`);
  if (Object.keys(text).length === 0) terminal.data("  no parameters");
}

/** A picture whose parameters are damaged still has a size, and its texts can be looked at. */
function ownParameters(terminal: Terminal, text: Record<string, string>, file: string) {
  try {
    return parseParameters(text, file);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    terminal.warn([error.message]);
    return undefined;
  }
}
