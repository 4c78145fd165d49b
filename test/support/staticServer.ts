// Serves folders on the loopback interface, with byte ranges, as any web server would.
import { once } from "node:events";
import { createReadStream, type Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize, sep } from "node:path";

const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json" };

export interface StaticServer {
  /** Such as "http://127.0.0.1:40123", without a slash at the end. */
  readonly origin: string;
  /** Method and path of every request so far. */
  readonly requests: string[];
  close(): Promise<void>;
}

/** Serves each folder below the path that it is listed under; the longest matching path counts. */
export async function serveFolders(folders: Record<`/${string}`, string>): Promise<StaticServer> {
  const mounts = Object.entries(folders).sort(([a], [b]) => b.length - a.length);
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(mounts, request, response).catch(() => response.writeHead(500).end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    requests,
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

async function answer(mounts: [string, string][], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
  const mount = mounts.find(([prefix]) => path.startsWith(prefix));
  if (!mount) return void response.writeHead(404).end();
  const [prefix, folder] = mount;
  const rest = path.slice(prefix.length);
  const file = join(folder, normalize(rest === "" || rest.endsWith("/") ? `${rest}index.html` : rest));
  const info: Stats | null = file.startsWith(folder + sep) ? await stat(file).catch(() => null) : null;
  if (!info?.isFile()) return void response.writeHead(404).end();

  const headers = { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "accept-ranges": "bytes" };
  const range = request.headers.range?.match(/^bytes=(\d+)-(\d*)$/);
  const start = range ? Number(range[1]) : 0;
  const end = Math.min(range?.[2] ? Number(range[2]) : info.size - 1, info.size - 1);
  if (range && start > end) return void response.writeHead(416, { "content-range": `bytes */${info.size}` }).end();
  const partial = range ? { "content-range": `bytes ${start}-${end}/${info.size}` } : {};
  response.writeHead(range ? 206 : 200, { ...headers, ...partial, "content-length": end - start + 1 });
  if (request.method === "HEAD" || info.size === 0) return void response.end();
  createReadStream(file, { start, end }).pipe(response);
}
