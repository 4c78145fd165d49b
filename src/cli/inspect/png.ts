/** The parameters that a picture was made with: ours, those of other tools, or other texts. */
import { readFile } from "node:fs/promises";
import { INFOTEXT_KEYWORD, JSON_KEYWORD, parseInfotext, parseParameters } from "../../image/parameters.ts";
import { readPngText } from "../../image/pngText.ts";
import { readPng } from "../../node/png.ts";
import type { CommonFlags } from "../flags.ts";
import type { Terminal } from "../io.ts";

export async function inspectPng(terminal: Terminal, file: string, flags: CommonFlags): Promise<void> {
  const { width, height } = await readPng(file);
  const text = await readPngText(await readFile(file), file);
  const parameters = parseParameters(text, file);
  const infotext = text[INFOTEXT_KEYWORD];
  if (flags.json) {
    terminal.json({ file, kind: "png", width, height, parameters: parameters ?? null, text });
    return;
  }
  terminal.data(`${file}: PNG, ${width} x ${height}`);
  const fields = parameters ?? (infotext === undefined ? {} : parseInfotext(infotext));
  for (const [key, value] of Object.entries(fields)) {
    const shown = Array.isArray(value) ? value.join(" ") : typeof value === "object" ? JSON.stringify(value) : value;
    terminal.data(`  ${key}: ${shown}`);
  }
  for (const [keyword, value] of Object.entries(text))
    if (keyword !== INFOTEXT_KEYWORD && keyword !== JSON_KEYWORD) terminal.data(`  ${keyword}: ${value}`);
  if (Object.keys(text).length === 0) terminal.data("  no parameters");
}
