/** What diffusers' configurations of UNets say of their levels alike. */
import type { ConfigReader } from "../network/configReader.ts";
import { textOf } from "../runtime/printable.ts";

/** The blocks on the way down or up, by diffusers' class names (get_down_block, get_up_block), with or without "UNetRes". */
export function readBlocks<T>(
  r: ConfigReader,
  direction: "Down" | "Up",
  types: Readonly<Record<string, T>>,
  fallback: readonly string[],
  count: number,
): T[] {
  const key = `${direction.toLowerCase()}_block_types`;
  const names = r.list<string>(key, fallback, (v) => typeof v === "string", "block names");
  if (names.length !== count) r.fail(key, `has ${names.length} entries, block_out_channels ${count}`);
  return names.map((name) => {
    const type = types[name.replace(/^UNetRes/, "")];
    return type ?? r.fail(key, `${textOf(name)} is not supported; supported are ${Object.keys(types).join(", ")}`);
  });
}

/** Every norm has to divide its channels. */
export function checkGroups(r: ConfigReader, widths: readonly number[], groups: number): void {
  const bad = widths.find((c) => c % groups !== 0);
  if (bad !== undefined)
    r.fail("norm_num_groups", `${groups} groups do not divide ${bad} channels of block_out_channels`);
}
