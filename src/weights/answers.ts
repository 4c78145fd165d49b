/** What a server's answer says of a file: whether it is there, how long it is, and which version of it. */
import { FileError } from "../runtime/errors.ts";
import { type Answer, answered } from "./requests.ts";

export function refusal(file: string, response: Response): FileError {
  if (response.status === 403)
    return new FileError(file, `${answered(response)}, as some do for files that are not there`);
  return new FileError(file, isMissing(response) ? "there is no such file on the server" : answered(response));
}

/**
 * No such file: says so, or is the HTML page that servers of single-page applications send instead. Buckets that may not
 * be listed answer 403.
 */
export function isMissing(response: Response): boolean {
  if (response.status === 404 || response.status === 410 || response.status === 403) return true;
  return response.ok && (response.headers.get("content-type") ?? "").startsWith("text/html");
}

export const isEncoded = (headers: Headers): boolean => (headers.get("content-encoding") ?? "identity") !== "identity";

export function contentLength(response: Response): number | undefined {
  // The length of compressed content says nothing about the file's.
  if (isEncoded(response.headers)) return undefined;
  return wholeNumber(response.headers.get("content-length"));
}

/** The file's size out of `Content-Range: bytes 0-0/1234`, or `bytes *\/0` of an empty file. */
export function rangeTotal(response: Response): number | undefined {
  if (response.status !== 206 && response.status !== 416) return undefined;
  return wholeNumber(response.headers.get("content-range")?.split("/")[1]);
}

/** The first byte that an answer of a part begins with, where it says so. */
export const rangeStart = ({ headers }: Response): number | undefined =>
  wholeNumber(/^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1]);

function wholeNumber(text: string | null | undefined): number | undefined {
  return text && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** What tells a file from the one that it was. Servers that hide headers from other origins show the second of the three. */
export interface Version {
  etag?: string;
  modified?: string;
  size?: number;
}

/** What is known of a file's version after one more answer, of `size` bytes in all; undefined where that one is another's. */
export function sameVersion(known: Version, { headers }: Response, size: number | undefined): Version | undefined {
  const etag = headers.get("etag") ?? undefined;
  const modified = headers.get("last-modified") ?? undefined;
  const now: Version = { etag, modified, size };
  for (const key of ["etag", "modified", "size"] as const)
    if ((known[key] ?? now[key]) !== (now[key] ?? known[key])) return undefined;
  return { etag: known.etag ?? etag, modified: known.modified ?? modified, size: known.size ?? size };
}

/** Fills the target with the body of an answer. @throws FileError where that has more bytes, or fewer */
export async function readExactly(answer: Answer, target: Uint8Array, file: string): Promise<void> {
  let filled = 0;
  for (let part = await answer.next(); part; part = await answer.next()) {
    if (filled + part.byteLength > target.byteLength) {
      await answer.cancel();
      throw new FileError(file, `gave more than the ${target.byteLength} bytes that were asked for`);
    }
    target.set(part, filled);
    filled += part.byteLength;
  }
  if (filled !== target.byteLength)
    throw new FileError(file, `gave ${filled} bytes when ${target.byteLength} were asked for`);
}
