/**
 * The decoders of jSquash, which are Google's and Mozilla's C compiled to WebAssembly. Each picture gets an instance of its
 * own: memory that grew for one is given back, and one that ended at a broken file is not used again.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { RgbaImage } from "../image/rgba.ts";
import { optional } from "./optional.ts";

/** Of Emscripten, as far as it is used. */
type Factory<M> = (options: {
  noInitialRun: true;
  instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) => object;
  print: (text: string) => void;
  printErr: (text: string) => void;
}) => Promise<M>;

/** A decoder among optional packages. */
interface Decoder<M> {
  /** The package, and the file in it that holds the code. */
  name: string;
  code: string;
  load: () => Promise<{ default: unknown }>;
  decode: (decoder: M) => RgbaImage | null;
}

const compiled = new Map<string, Promise<WebAssembly.Module>>();

async function compile<M>({ name, code, load }: Decoder<M>): Promise<[Factory<M>, WebAssembly.Module]> {
  const { default: factory } = await load();
  const file = createRequire(import.meta.url).resolve(`${name}/${code}`);
  const module = compiled.get(file) ?? readFile(file).then((bytes) => WebAssembly.compile(bytes as BufferSource));
  compiled.set(file, module);
  return [factory as Factory<M>, await module];
}

/**
 * @param path of the picture, named in errors
 * @returns The pixels, or nothing where the decoder gave up; and what it said meanwhile.
 * @throws FileError where the package is not installed
 */
export async function decodeWith<M>(chosen: Decoder<M>, path: string): Promise<{ pixels?: RgbaImage; said: string[] }> {
  const [factory, wasm] = await optional(chosen.name, path, () => compile(chosen));
  const said: string[] = [];
  const say = (text: string) => said.push(text);
  const decoder = await factory({
    noInitialRun: true,
    print: say,
    printErr: say,
    instantiateWasm(imports, done) {
      const instance = new WebAssembly.Instance(wasm, imports);
      done(instance);
      return instance.exports;
    },
  });
  // The decoders return ImageData, a class of browsers; it is lent to them for as long as they run, which is until they return.
  const own = Object.getOwnPropertyDescriptor(globalThis, "ImageData");
  if (!own) Object.defineProperty(globalThis, "ImageData", { value: PlainImageData, configurable: true });
  try {
    return { pixels: chosen.decode(decoder) ?? undefined, said };
  } catch {
    return { said };
  } finally {
    if (!own) Reflect.deleteProperty(globalThis, "ImageData");
  }
}

class PlainImageData implements RgbaImage {
  constructor(
    readonly data: Uint8ClampedArray<ArrayBuffer>,
    readonly width: number,
    readonly height: number,
  ) {}
}
