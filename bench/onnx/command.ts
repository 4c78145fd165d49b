/** `ddim bench export`: a model's network as an ONNX file. */
import type { DeviceFlags, ModelFlags } from "../../src/cli/flags.ts";
import type { Terminal } from "../../src/cli/io.ts";
import { openFlaggedModel } from "../../src/cli/modelFlag.ts";
import { checkFile } from "../../src/cli/output.ts";
import { packageVersion } from "../../src/cli/package.ts";
import { bytes, plural } from "../../src/cli/table.ts";
import type { ImageSize } from "../../src/network/configReader.ts";
import { exportGraph, writeOnnx } from "./export.ts";
import type { NormStyle } from "./writing.ts";

export interface ExportFlags extends ModelFlags, Pick<DeviceFlags, "dtype"> {
  output: string;
  style: NormStyle;
  size?: ImageSize;
  batch: number | "any";
  contextLength?: number;
  externalData?: true;
}

export async function exportOnnx(terminal: Terminal, flags: ExportFlags): Promise<void> {
  const { output, style, size, contextLength, externalData } = flags;
  const { signal } = terminal.io;
  const model = await openFlaggedModel(terminal, flags);
  const dtype = flags.dtype === "f16" ? "f16" : "f32";
  const batch = flags.batch === "any" ? null : flags.batch;
  const graph = exportGraph(model, { size, batch, style, dtype, contextLength });
  checkFile(output, true);
  const written = await writeOnnx(output, model, graph, { externalData, producerVersion: packageVersion(), signal });
  const { nodes, initializers } = graph.builder;
  terminal.note(
    `${output}: ${plural(nodes.length, "node")}, ${plural(initializers.size, "initializer")}, ${bytes(written)}, ` +
      `inputs ${graph.inputs.map(({ name, shape }) => `${name} [${[flags.batch, ...shape].join(", ")}]`).join(", ")}`,
  );
}
