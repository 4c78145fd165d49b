/** Texts as a hostile file would hold them, and what must never be printed of one. */
import fc from "fast-check";

/** Characters without a glyph of their own that make a terminal do something, or a reader see something else. */
export const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Pieces that mean something to a terminal, a shell, a command line or a reader of right-to-left text. */
const PIECES = [
  ..."\x00\x07\x08\t\n\r\x1b\x7f\x84\x85\x90\x9b\x9c\x9d\u00ad\u061c\u200b\u200d\u200e\u200f\u2028\u2029\u202a\u202e",
  ..."\u2066\u2069\ufeff\ufff9\ud83d\udc00'\"`\\$;&|<>(){}*?!#~ =,:/é日🙂",
  ...["\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "\x9b1A", "$(id)", "`id`", "; rm -rf ~", "--overwrite", "-o", "\r\n"],
  ...["ddim sample", "Steps: 20, ", "command: ", "{bar}", "%s", "\u{e0041}", "../", "constructor", "__proto__"],
];

export const hostileText = fc
  .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...PIECES) }, fc.string({ unit: "binary", maxLength: 6 })), {
    maxLength: 12,
  })
  .map((parts) => parts.join(""));
