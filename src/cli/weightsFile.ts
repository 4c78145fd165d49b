/** One file of weights by whatever name it, or the model that it belongs to, has. */
import { basename, dirname } from "node:path";
import { folderSource } from "../node/folder.ts";
import { placeOfModel } from "../node/modelName.ts";
import { FileError } from "../runtime/errors.ts";
import { findComponent } from "../weights/components.ts";
import { isWeights, locateWeights } from "../weights/locate.ts";
import { label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";
import type { Terminal } from "./io.ts";
import { withModelFiles } from "./modelFlag.ts";
import { pathKind } from "./paths.ts";

/**
 * A file on disk whatever its ending; of a model's folder, address or id its network's file.
 * @throws FileError where there is none, or where there are several
 */
export async function weightsFile(terminal: Terminal, name: string): Promise<{ source: ModelSource; path: string }> {
  const kind = pathKind(name);
  if (kind === "file" || (kind && isWeights(name)))
    return { source: folderSource(dirname(name)), path: basename(name) };
  const place = placeOfModel(name);
  if (place.kind === "disk" && pathKind(place.path) === "file") return weightsFile(terminal, place.path);
  const { signal } = terminal.io;
  return withModelFiles(terminal, { model: name }, async (source) => {
    const path =
      source.weights ?? (await locateWeights(source, await findComponent(source, "unet", signal), undefined, signal));
    if (path.endsWith(".json")) throw new FileError(label(source, path), "lists several files: name one of them");
    return { source, path };
  });
}
