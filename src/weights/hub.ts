/** Names and addresses of models on the Hugging Face Hub. Nothing here asks it anything. */

import { decoded } from "./path.ts";

/** A model's repository: `org/name`, and a branch, tag or commit of it. */
export interface HubId {
  readonly name: string;
  readonly revision: string;
}

const MAIN = "main";

/** As the Hub allows them: `validate_repo_id` of huggingface_hub. */
const ID = /^(\w(?:[\w.-]{0,94}\w)?\/\w(?:[\w.-]{0,94}\w)?)(?:@(.+))?$/;
const FORBIDDEN = /--|\.\.|\.git$/;

/** What `git check-ref-format` refuses, but for rare names; no part of it may lead out of a folder of revisions. */
const isRevision = (text: string): boolean =>
  text.length <= 255 &&
  /^[^\s\\~^:?*[\p{C}]+$/u.test(text) &&
  text.split("/").every((part) => part !== "" && !part.startsWith("."));

/** `org/name`, or `org/name@revision`; undefined for any other text. */
export function parseHubId(text: string): HubId | undefined {
  const [, name, revision = MAIN] = ID.exec(text) ?? [];
  return name !== undefined && !FORBIDDEN.test(name) && isRevision(revision) ? { name, revision } : undefined;
}

const HOSTS = new Set(["huggingface.co", "www.huggingface.co", "hf.co"]);

/** The model whose page an address is: `https://huggingface.co/org/name`, with `/tree/revision` or not. */
export function hubPage({ hostname, pathname }: URL): HubId | undefined {
  const [, name, revision] = /^\/([^/]+\/[^/]+)(?:\/tree\/([^/]+))?\/?$/.exec(pathname) ?? [];
  if (!HOSTS.has(hostname) || name === undefined) return undefined;
  return parseHubId(revision === undefined ? name : `${name}@${decoded(revision)}`);
}

/** Where the files are that a page of the Hub shows, of a model, a folder or a file; any other address as it is. */
export function fileAddress(url: URL): URL {
  const [, name = "", rest = MAIN] = /^\/([^/]+\/[^/]+?)(?:\/(?:tree|blob)\/(.+?))?\/?$/.exec(url.pathname) ?? [];
  if (!HOSTS.has(url.hostname) || !parseHubId(name)) return url;
  const files = new URL(url);
  files.pathname = `/${name}/resolve/${rest}`;
  return files;
}
