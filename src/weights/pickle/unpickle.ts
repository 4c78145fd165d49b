/**
 * Reads a pickle without running anything in it. What its globals mean is the caller's affair, and what it makes the
 * machine do is counted: a pickle of a few bytes can ask for any amount of work.
 */
import type { Bytes } from "./bytes.ts";
import { Machine, type Meanings } from "./machine.ts";
import { OPCODES, STOP } from "./opcodes.ts";
import { MORE } from "./operands.ts";

/** Real checkpoints of 2000 tensors take 200 000 opcodes, with an optimizer's state three times as many. */
const MAX_OPCODES = 3_000_000;

/**
 * @param at where the pickle begins
 * @param file named in errors
 * @returns its object, and where the byte behind it is
 * @throws FileError for what is no pickle, is cut off, damaged, or a bomb
 */
export async function unpickle(
  bytes: Bytes,
  at: number,
  meanings: Meanings,
  file: string,
  signal?: AbortSignal,
): Promise<{ value: unknown; end: number }> {
  const machine = new Machine(bytes, at, meanings, file);
  const { operands } = machine;
  for (let opcodes = 1; ; opcodes++) {
    const start = operands.position;
    try {
      if (opcodes > MAX_OPCODES) operands.fail("asks for more work than any checkpoint does");
      const code = operands.uint(1);
      if (code === STOP) return { value: machine.pop(), end: operands.position };
      const opcode = OPCODES[code];
      if (!opcode)
        return operands.fail(
          `is no pickle that can be read here: 0x${code.toString(16).padStart(2, "0")} is no opcode of one`,
        );
      opcode(machine, operands);
    } catch (error) {
      if (error !== MORE) throw error;
      operands.rewind(start);
      opcodes--;
      signal?.throwIfAborted();
      await operands.refill(signal);
    }
  }
}
