import type { GenerateOptions, RgbaImage } from "ddim-webgpu";

/** What can be said in a message: no functions, no signal, and no buffer of another thread's device. */
export type Options = Omit<GenerateOptions, "signal" | "onStep" | "pixels" | "sampler"> & {
  sampler?: Extract<GenerateOptions["sampler"], string>;
};

/** To the worker; `id` is the run's. */
export type Request = { type: "generate"; id: number; options: Options } | { type: "abort"; id: number };

/** From the worker. The pictures' bytes are transferred, not copied. */
export type Reply =
  | { type: "progress"; id: number; done: number; of: number }
  | { type: "images"; id: number; images: RgbaImage[] }
  | { type: "error"; id: number; error: Error };
