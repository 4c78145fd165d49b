/** Requests for the files below a folder's URL. */
import { checkPath, label } from "./path.ts";
import { type Answer, type Fetch, Requests } from "./requests.ts";

type Use<T> = (answer: Answer) => Promise<T>;

/**
 * @param url - whose query is sent with every request to its own origin, and a user and password as basic authentication;
 * where a server redirects to, neither is sent
 */
export function folderRequests(url: string | URL, fetch: Fetch) {
  const base = new URL(url);
  const requests = new Requests(fetch);
  const source = { name: base.origin + base.pathname.replace(/\/+$/, "") };
  const user = `${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`;
  const login: Record<string, string> = user === ":" ? {} : { Authorization: `Basic ${btoa(user)}` };

  function request<T>(
    path: string,
    init: { method?: string; headers?: Record<string, string> },
    signal: AbortSignal | undefined,
    use: Use<T>,
  ): Promise<T> {
    const segments = checkPath(source, path).split("/").map(encodeURIComponent);
    const headers = { ...login, ...init.headers };
    const to = `${source.name}/${segments.join("/")}${base.search}`;
    return requests.get(label(source, path), to, { ...init, headers }, signal, use);
  }

  /** Of bytes `start` to `end`. */
  const getRange = <T>(path: string, start: number, end: number, signal: AbortSignal | undefined, use: Use<T>) =>
    request(path, { headers: { Range: `bytes=${start}-${end - 1}` } }, signal, use);

  return { ...source, request, getRange };
}
