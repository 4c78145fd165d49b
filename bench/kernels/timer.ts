/** Times programs in turns: every round measures each of them once, so that what disturbs the machine disturbs all. */
import type { Device } from "../../src/runtime/device.ts";
import type { Program } from "../../src/runtime/program.ts";

/** Replays per measurement grow until one takes this long, so that submission and waking up do not count. */
const MEASURE_MS = 30;
const MIN_ROUNDS = 5;

/** Milliseconds of one replay. */
export async function replay(device: Device, program: Program, times: number): Promise<number> {
  const encoder = device.gpu.createCommandEncoder();
  for (let i = 0; i < times; i++) program.encode(encoder);
  const commands = encoder.finish();
  const start = performance.now();
  device.submit([commands]);
  await device.done();
  return (performance.now() - start) / times;
}

/**
 * @param seconds for how long altogether
 * @returns milliseconds of one replay, a list per program, equally long
 */
export async function measureInTurns(
  device: Device,
  programs: readonly Program[],
  seconds: number,
  signal?: AbortSignal,
): Promise<number[][]> {
  const times: number[] = [];
  for (const program of programs) {
    await replay(device, program, 1);
    times.push(Math.max(1, Math.ceil(MEASURE_MS / (await replay(device, program, 1)))));
  }
  const measured: number[][] = programs.map(() => []);
  const end = performance.now() + 1000 * seconds;
  for (let round = 0; round < MIN_ROUNDS || performance.now() < end; round++)
    for (const [i, program] of programs.entries()) {
      signal?.throwIfAborted();
      measured[i]?.push(await replay(device, program, times[i] as number));
    }
  return measured;
}
