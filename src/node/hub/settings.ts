/**
 * Where the Hub, its cache and the token are, by the environment variables of Python's huggingface_hub (`constants.py`,
 * `utils/_auth.py`): what was logged in or downloaded there is found here, and the other way round.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { FileError, UsageError } from "../../runtime/errors.ts";
import { codeOf, readAt, withFile } from "../file.ts";

export type Env = Readonly<Record<string, string | undefined>>;

/** Largest file that is read as a token. */
const TOKEN_BYTES = 64 * 1024;

/** `~` and `$VARIABLE` in a path, as Python reads them. */
function expanded(path: string, env: Env): string {
  const home = path.replace(/^~(?=$|[/\\])/, env.HOME || env.USERPROFILE || homedir());
  return home.replace(/\$(?:(\w+)|\{(\w+)\})/g, (word, bare, braced) => env[bare ?? braced] ?? word);
}

const isTrue = (value: string | undefined) => ["1", "ON", "YES", "TRUE"].includes(value?.toUpperCase() ?? "");

const homeOf = (env: Env) => {
  const cache = env.XDG_CACHE_HOME || join(env.HOME || env.USERPROFILE || homedir(), ".cache");
  return expanded(env.HF_HOME || join(cache, "huggingface"), env);
};

/** The folder of everything that was downloaded: HF_HUB_CACHE, or `hub` in HF_HOME. */
export const hubCache = (env: Env): string =>
  expanded(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(homeOf(env), "hub"), env);

/** Whether the Hub must not be asked. */
export const isOffline = (env: Env): boolean => isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE);

/** HF_ENDPOINT, for mirrors and private hubs; without a slash at the end. @throws UsageError */
export function hubEndpoint(env: Env): URL {
  const text = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash || url.username || url.password)
    throw new UsageError("HF_ENDPOINT", "HF_ENDPOINT must be an http(s) URL such as https://huggingface.co");
  return url;
}

/** A token, and where it was found. */
export interface Token {
  readonly text: string;
  readonly from: string;
}

/**
 * The token of who is logged in; undefined for nobody.
 * @throws FileError where there is one that cannot be read or sent; it is never repeated
 */
export async function hubToken(env: Env): Promise<Token | undefined> {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const from = env.HF_TOKEN ? "HF_TOKEN" : "HUGGING_FACE_HUB_TOKEN";
  const token = checked(env[from] ?? "", from);
  if (token) return token;
  const file = expanded(env.HF_TOKEN_PATH || join(homeOf(env), "token"), env);
  try {
    const bytes = await withFile(file, (handle) => readAt(handle, 0, TOKEN_BYTES));
    return checked(new TextDecoder().decode(bytes), file);
  } catch (error) {
    if (error instanceof FileError && /^(ENOENT|ENOTDIR)$/.test(codeOf(error.cause) ?? "")) return undefined;
    throw error;
  }
}

function checked(given: string, from: string): Token | undefined {
  const text = given.trim();
  // What a header cannot hold, platforms repeat in their errors.
  if (!/^[\x21-\x7e]*$/.test(text)) throw new FileError(from, "holds characters that no token of the Hub has");
  return text === "" ? undefined : { text, from };
}
