/** What lies at a path, for commands that check before they work. */
import { statSync } from "node:fs";

/** Undefined where there is nothing that can be seen, for whatever reason. */
export function pathKind(path: string): "file" | "folder" | undefined {
  try {
    return statSync(path).isDirectory() ? "folder" : "file";
  } catch {
    return undefined;
  }
}

export const isFolder = (path: string): boolean => pathKind(path) === "folder";
