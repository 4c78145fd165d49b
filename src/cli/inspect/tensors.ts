/** The table of tensors in one file of weights, safetensors or a pickle, from what describes them. */
import { elementCount, openWeights } from "../../weights/checkpoint.ts";
import { isPickle } from "../../weights/locate.ts";
import type { LoadFlags } from "../flags.ts";
import type { Terminal } from "../io.ts";
import { bytes, plural, quantity, table } from "../table.ts";
import { weightsFile } from "../weightsFile.ts";

export async function inspectTensors(terminal: Terminal, file: string, flags: LoadFlags): Promise<void> {
  const { source, path } = await weightsFile(terminal, file);
  const { tensors: found, metadata, totalBytes } = await openWeights(source, path, { signal: terminal.io.signal });
  const kind = isPickle(path) ? "pickle" : "safetensors";
  const tensors = [...found.values()].map(({ name, dtype, shape, start, end }) => ({
    name,
    dtype,
    shape,
    bytes: end - start,
  }));
  const elements = [...found.values()].reduce((sum, tensor) => sum + elementCount(tensor), 0);
  if (flags.json) {
    terminal.json({ file, kind, tensors, elements, bytes: totalBytes, metadata });
    return;
  }
  const cells = tensors.map(({ name, dtype, shape, bytes: size }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    bytes(size),
  ]);
  terminal.data(table(["tensor", "type", "shape", "size"], cells));
  terminal.data(Object.entries(metadata).map(([key, value]) => `${key}: ${value}`));
  terminal.data(
    `${file}: ${kind}, ${plural(tensors.length, "tensor")}, ${quantity(elements)} values, ${bytes(totalBytes)}`,
  );
}
