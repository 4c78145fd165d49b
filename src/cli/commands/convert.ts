/** `ddim convert`: the weights of a PyTorch checkpoint as safetensors. Nothing in the checkpoint is run. */
import type { Command } from "commander";
import { FileError, UsageError } from "../../runtime/errors.ts";
import { listed } from "../../runtime/printable.ts";
import { type Checkpoint, elementCount, openSafetensors } from "../../weights/checkpoint.ts";
import { decodeFloats, f32ToF16 } from "../../weights/convert.ts";
import { DTYPE_BITS } from "../../weights/dtype.ts";
import { layOut } from "../../weights/encode.ts";
import { isPickle } from "../../weights/locate.ts";
import { label } from "../../weights/path.ts";
import { pickleSource } from "../../weights/pickle/lazy.ts";
import type { TensorInfo } from "../../weights/safetensors.ts";
import { addCommonFlags, type CommonFlags } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { checkFile, writePieces } from "../output.ts";
import { pathKind } from "../paths.ts";
import { openProgress } from "../progress.ts";
import { bytes, plural, quantity } from "../table.ts";
import { weightsFile } from "../weightsFile.ts";

interface ConvertFlags extends Pick<CommonFlags, "quiet" | "verbose" | "json"> {
  ema?: true;
  half?: true;
  overwrite?: true;
}

export function addConvert(program: Command, io: Io): void {
  const command = program
    .command("convert")
    .summary("a PyTorch checkpoint to safetensors")
    .description(
      "Writes the weights in a file of torch.save (.ckpt, .pt, .pth, .bin) as safetensors, under their own names; `module.` " +
        "of data parallel training goes. Reads pickles without running anything in them, and says what is left out. " +
        "Commands also take such files as they are: -m FILE.ckpt.",
    )
    .argument(
      "<checkpoint>",
      "file of torch.save, of any version since 0.1.10; or a URL of one, or a model's folder, URL or Hugging Face id",
    )
    .argument("<output>", "safetensors to write")
    .option("--ema", "the moving average, where the file keeps one apart: under ema, or at the end of a list")
    .option("--half", "store 32-bit floats in 16 bits")
    .option("--overwrite", "replace what is there")
    .addHelpText("after", "\nExample:\n  $ ddim convert cin.ckpt cin/model.safetensors");
  addCommonFlags(command, ["quiet", "verbose", "json"]);
  command.action((input: string, output: string, flags: ConvertFlags) => convert(input, output, flags, io));
}

async function convert(input: string, output: string, flags: ConvertFlags, io: Io): Promise<void> {
  const { signal } = io;
  const terminal = new Terminal(io, flags);
  if (!/\.safetensors$/i.test(output)) throw new UsageError("output", `${output}: the name must end in .safetensors`);
  const { source: files, path } = await weightsFile(terminal, input);
  if (pathKind(input) !== "file" && !isPickle(path))
    throw new FileError(label(files, path), "is a safetensors file already");
  const source = await pickleSource(files, path, { weights: flags.ema ? "ema" : "plain", signal });
  const checkpoint = await openSafetensors(source, path, signal);
  checkFile(output, flags.overwrite === true);
  const tensors = converted(checkpoint, flags.half === true);
  const values = tensors.reduce((sum, { tensor }) => sum + elementCount(tensor), 0);
  const progress = await openProgress(terminal);
  let written = 0;
  try {
    const pieces = contents(checkpoint, tensors, signal);
    await writePieces(
      output,
      counted(pieces, (n) => {
        written += n;
        progress.show("converting", written, checkpoint.totalBytes);
      }),
    );
  } finally {
    progress.stop();
  }
  const { place, leftOut } = source;
  if (flags.json)
    terminal.json({ output, tensors: tensors.length, values, bytes: written, from: place, left_out: leftOut });
  const from = place === "" ? "" : `, from ${place} of ${input}`;
  terminal.done(`${output}: ${plural(tensors.length, "tensor")}, ${quantity(values)} values, ${bytes(written)}${from}`);
  if (leftOut.length > 0) terminal.note(`left out: ${listed(leftOut)}`);
}

interface Converted {
  /** In the file that is written. */
  readonly name: string;
  readonly tensor: TensorInfo;
  readonly dtype: TensorInfo["dtype"];
}

/** What is to be written: large elements first, so that all are aligned, then in the order of reading. */
function converted({ tensors }: Checkpoint, half: boolean): Converted[] {
  const parallel = [...tensors.keys()].every((name) => name.startsWith("module."));
  const all = [...tensors.values()].map((tensor) => ({
    name: parallel ? tensor.name.slice("module.".length) : tensor.name,
    tensor,
    dtype: half && tensor.dtype === "F32" ? ("F16" as const) : tensor.dtype,
  }));
  return all.sort((a, b) => DTYPE_BITS[b.dtype] - DTYPE_BITS[a.dtype]);
}

/** The bytes of the file: its header, then the tensors, a piece at a time. */
async function* contents(
  checkpoint: Checkpoint,
  tensors: readonly Converted[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  yield layOut(
    tensors.map(({ name, dtype, tensor: { shape } }) => ({ name, dtype, shape })),
    checkpoint.metadata,
  ).header;
  const halved = new Set(tensors.filter(({ dtype, tensor }) => dtype !== tensor.dtype).map(({ tensor }) => tensor));
  for (const bits of new Set(tensors.map(({ dtype }) => DTYPE_BITS[dtype]))) {
    const names = tensors.filter(({ dtype }) => DTYPE_BITS[dtype] === bits).map(({ tensor }) => tensor.name);
    for await (const { tensor, bytes: piece } of checkpoint.pieces(names, { signal }))
      yield halved.has(tensor) ? halve(piece, checkpoint.file, tensor.name) : piece;
  }
}

/** 32-bit floats in 16 bits. @throws FileError for a value beyond their range */
function halve(piece: Uint8Array, file: string, name: string): Uint8Array {
  const values = decodeFloats("F32", piece, new Float32Array(piece.byteLength / 4));
  const beyond = values.find((value) => Number.isFinite(value) && Math.abs(value) >= 65520);
  if (beyond !== undefined)
    throw new FileError(file, `tensor ${JSON.stringify(name)} holds ${beyond}, beyond 16-bit floats: leave out --half`);
  return new Uint8Array(f32ToF16(values).buffer);
}

async function* counted(pieces: AsyncIterable<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    count(piece.byteLength);
    yield piece;
  }
}
