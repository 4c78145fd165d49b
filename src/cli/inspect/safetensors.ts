/** The table of tensors in one safetensors file, from its header. */
import { openSafetensorsFile } from "../../node/folder.ts";
import { elementCount } from "../../weights/checkpoint.ts";
import type { LoadFlags } from "../flags.ts";
import type { Terminal } from "../io.ts";
import { bytes, plural, quantity, table } from "../table.ts";

export async function inspectSafetensors(terminal: Terminal, file: string, flags: LoadFlags): Promise<void> {
  const { tensors: found, metadata, totalBytes } = await openSafetensorsFile(file, terminal.io.signal);
  const tensors = [...found.values()].map(({ name, dtype, shape, start, end }) => ({
    name,
    dtype,
    shape,
    bytes: end - start,
  }));
  const elements = [...found.values()].reduce((sum, tensor) => sum + elementCount(tensor), 0);
  if (flags.json) {
    terminal.json({ file, kind: "safetensors", tensors, elements, bytes: totalBytes, metadata });
    return;
  }
  terminal.data(
    `${file}: safetensors, ${plural(tensors.length, "tensor")}, ${quantity(elements)} values, ${bytes(totalBytes)}`,
  );
  const rows = tensors.map(({ name, dtype, shape, bytes: size }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    bytes(size),
  ]);
  terminal.data(table(["tensor", "type", "shape", "size"], rows));
  for (const [key, value] of Object.entries(metadata)) terminal.data(`${key}: ${value}`);
}
