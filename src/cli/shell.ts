/** Words of a command as a POSIX shell reads them. */

/** Characters that no shell gives a meaning to, where they do not begin a word with one. */
const PLAIN = /^(?![=~%])[\w@%+=:,./-]+$/;

/** A word that a shell takes as it is, whatever it holds. */
export const quoted = (word: string): string => (PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const WORD = /'([^']*(?:'\\''[^']*)*)'(?= |$)|([^' ]+)(?= |$)/y;

/**
 * The words of a line that has nothing but plain words and those that {@link quoted} makes.
 * @returns undefined for every other line: with operators, expansions, other quotes, several lines
 */
export function wordsOf(line: string): string[] | undefined {
  const words: string[] = [];
  for (let at = 0; at < line.length; at++) {
    WORD.lastIndex = at;
    const [all, inQuotes, plain] = WORD.exec(line) ?? [];
    if (all === undefined || (plain !== undefined && !PLAIN.test(plain))) return undefined;
    words.push(plain ?? (inQuotes as string).replaceAll("'\\''", "'"));
    at += all.length;
  }
  return words;
}
