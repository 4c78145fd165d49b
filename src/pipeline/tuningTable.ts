/** Tables of measured methods: what they are valid for, and how they are kept. */

import { crc32 } from "../image/pngChunks.ts";
import { METHODS, methodSources } from "../kernels/methods.ts";
import { targetFor } from "../kernels/target.ts";
import type { Measured } from "../kernels/tuner.ts";
import type { Device } from "../runtime/device.ts";
import { FileError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { textOf } from "../runtime/printable.ts";
import { textDigest } from "../weights/digests.ts";

/** What measurements are valid for. */
export interface TuningScope {
  /** Adapter and driver in words. */
  readonly adapter: string;
  /** Hash of the kernels' sources. */
  readonly kernels: string;
}

/** The quickest method by operation and shape of one image, with the milliseconds of all. Plain data. */
export interface TuningTable extends TuningScope {
  readonly entries: Readonly<Record<string, Measured>>;
}

/** Where tables are kept between runs: a folder, a browser's storage, an object. */
export interface TuningStore {
  /** @returns undefined where there is none of this scope yet */
  load(scope: TuningScope): Promise<TuningTable | undefined>;
  /** Called after measuring, with everything that is known of the table's scope. */
  save?(table: TuningTable): Promise<void>;
}

/** The first eight hex digits of SHA-256. */
const digest = async (text: string): Promise<string> => (await textDigest(text)).slice(0, 8);

/** Adapter and driver of a device, and the kernels it would get. */
export async function tuningScope(device: Device): Promise<TuningScope> {
  const { vendor, architecture, device: part, description } = device.gpu.adapterInfo;
  const adapter = [vendor, architecture, part, description].filter(Boolean).join(", ");
  return { adapter, kernels: await digest(methodSources(targetFor(device)).join("\n")) };
}

/** Eight hex digits of a table's choices, whatever the times were. */
export async function tuningHash(table: TuningTable): Promise<string> {
  checkKind("tuningHash", "table", "an object", table);
  const { entries } = table;
  checkKind("tuningHash", "entries", "an object", entries);
  const chosen = Object.entries(entries).map(([key, { method }]) => [key, method]);
  return digest(JSON.stringify(chosen.sort(([a = ""], [b = ""]) => (a < b ? -1 : 1))));
}

/** A table as {@link Methods.measured} has it. */
export const measuredMethods = ({ entries }: TuningTable): Record<string, string> =>
  Object.fromEntries(Object.entries(entries).map(([key, { method }]) => [key, method]));

const FORMAT = "ddim-webgpu methods 1";

/** Of what a table says, however it is laid out. */
const checksum = ({ adapter, kernels, entries }: TuningTable): string =>
  crc32(new TextEncoder().encode(JSON.stringify([adapter, kernels, entries])))
    .toString(16)
    .padStart(8, "0");

/** A table as the text of a file. */
export const formatTuning = (tuning: TuningTable): string => {
  checkKind("formatTuning", "table", "an object", tuning);
  const { adapter, kernels, entries } = tuning;
  const table = { adapter, kernels, entries };
  return `${JSON.stringify({ format: FORMAT, ...table, checksum: checksum(table) }, null, 2)}\n`;
};

const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
const isTime = (v: unknown) => typeof v === "number" && v > 0 && Number.isFinite(v);

/** Whether an entry names a method of its operation, with times of its methods, and nothing else. */
function isEntry(key: string, value: unknown): boolean {
  const methods: readonly string[] = Object.entries(METHODS).find(([op]) => key.startsWith(`${op} `))?.[1] ?? [];
  if (!isRecord(value) || typeof value.method !== "string" || !isRecord(value.ms)) return false;
  if (Object.keys(value).length !== 2) return false;
  return (
    methods.includes(value.method) && Object.entries(value.ms).every(([m, ms]) => methods.includes(m) && isTime(ms))
  );
}

const NAMES = ["format", "adapter", "kernels", "entries", "checksum"];

/**
 * Reads what {@link formatTuning} wrote.
 * @param file named in errors
 * @param scope what the table has to be of
 * @param onEdited is told where a table is not the one that was written, which is an error without it; one without a
 * checksum was made by hand, or by an earlier version, and is taken as it is
 * @throws FileError when the text is no such table, a damaged one, or one of another adapter, driver or version
 */
export function parseTuning(
  text: string,
  file: string,
  scope: TuningScope,
  onEdited?: (text: string) => void,
): TuningTable {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FileError(file, "is no table of measured methods, or is damaged: it is not JSON", { cause });
  }
  if (!isRecord(json) || json.format !== FORMAT || !isRecord(json.entries))
    throw new FileError(file, `is no table of measured methods, or is damaged: there is no format "${FORMAT}"`);
  if (json.adapter !== scope.adapter)
    throw new FileError(
      file,
      `was measured on another adapter or driver: ${textOf(json.adapter)}, here is ${scope.adapter}`,
    );
  if (json.kernels !== scope.kernels)
    throw new FileError(file, "was measured with other kernels, those of another version; `ddim tune` measures anew");
  const foreign = Object.keys(json).find((name) => !NAMES.includes(name));
  if (foreign !== undefined) throw new FileError(file, `is damaged: it has an unknown part ${JSON.stringify(foreign)}`);
  for (const [key, entry] of Object.entries(json.entries))
    if (!isEntry(key, entry))
      throw new FileError(file, `is damaged: it has an entry that makes no sense: ${JSON.stringify(key)}`);
  const table = { ...scope, entries: json.entries as TuningTable["entries"] };
  if (json.checksum === undefined || json.checksum === checksum(table)) return table;
  if (!onEdited) throw new FileError(file, "is damaged: the checksum is another");
  onEdited(`${file}: is edited or damaged, the checksum is another; it is taken as it is`);
  return table;
}
