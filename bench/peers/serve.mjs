// The end of the protocol that every peer in JavaScript shares: commands as JSON lines, one after the other.
import process from "node:process";
import { createInterface } from "node:readline";

/** @param {Record<string, (args: any) => Promise<object>>} handlers */
export async function serve(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, command, ...args } = JSON.parse(line);
    let answer;
    try {
      const handler = handlers[command];
      if (!handler) throw new Error(`knows no command ${command}`);
      answer = { result: await handler(args) };
    } catch (error) {
      answer = { error: error instanceof Error ? error.message.split("\n")[0] : String(error) };
    }
    process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
  }
}

/** @returns {number} bytes */
export const peakHostBytes = () => process.resourceUsage().maxRSS * 1024;
