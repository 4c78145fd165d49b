// node trim-icu.mjs NODE: clears the ICU data of a node binary but for English and what is no language, in place: a third of
// what it weighs when packed. Intl answers in English; nothing here asks for more.
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";

const KEPT =
  /^(?:[a-z]+\/)?(?:root|en|en_US|en_US_POSIX|pool|res_index|tzdbNames)\.res$|^[a-z]*[A-Z]\w*\.res$|^(?:zoneinfo64|icuver|icustd|plurals|units|langInfo)\.res$|^brkitr\/(?:char|word|line|sent|title)\.brk$|^coll\/ucadata\.icu$|^(?:cnvalias|uemoji|ulayout|pnames|uprops|ucase|ubidi)\.icu$|\.nrm$/;

const [, , path = ""] = process.argv;
const binary = readFileSync(path);
/** Where the table of contents of ICU's data begins, after a header that is marked 0xda 0x27 and CmnD. */
let table = -1;
for (let at = binary.indexOf("CmnD"); at >= 0 && table < 0; at = binary.indexOf("CmnD", at + 1)) {
  const header = at - 12;
  if (binary[header + 2] !== 0xda || binary[header + 3] !== 0x27) continue;
  const start = header + binary.readUInt16LE(header);
  const count = binary.readUInt32LE(start);
  if (count > 1000 && count < 10_000) table = start;
}
if (table < 0) process.stderr.write(`${path}: no ICU data was found: it stays whole\n`);
else {
  /** @param {number} at */
  const nameAt = (at) =>
    binary.toString("latin1", table + at, binary.indexOf(0, table + at)).replace(/^icudt\d+l\//, "");
  const items = Array.from({ length: binary.readUInt32LE(table) }, (_, i) => ({
    name: nameAt(binary.readUInt32LE(table + 4 + 8 * i)),
    from: binary.readUInt32LE(table + 8 + 8 * i),
  }));
  for (const [i, { name, from }] of items.entries()) {
    const to = items[i + 1]?.from;
    if (to !== undefined && (!KEPT.test(name) || name === "translit/root.res"))
      binary.fill(0, table + from, table + to);
  }
  writeFileSync(path, binary);
}
