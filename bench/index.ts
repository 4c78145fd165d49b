/** What `ddim bench` loads in a checkout (src/cli/benchParts.ts): one function per command. */
export { readResults } from "./results.ts";
