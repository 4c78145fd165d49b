/** Packages that only some need, loaded when they are. */
import { FileError } from "../runtime/errors.ts";

/**
 * @param path of the file that is to be read with it, named in errors
 * @throws FileError where it is not installed
 */
export async function optional<T>(name: string, path: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    throw new FileError(path, `cannot be read without the optional package ${name}, which is not installed`, { cause });
  }
}
