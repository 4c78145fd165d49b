import { type DiffusionPipeline, type GenerateOptions, loadPipeline, type RgbaImage } from "ddim-webgpu";
import { useCallback, useEffect, useRef, useState } from "react";

interface State {
  readonly status: "loading" | "ready" | "generating" | "failed";
  /** From 0 to 1: of the download, then of the steps. */
  readonly progress: number;
  /** Previews while it generates, then the pictures. */
  readonly images: readonly RgbaImage[];
  readonly error?: Error;
}

export interface Diffusion extends State {
  /** Takes the place of a run that still goes on. Never rejects: what went wrong is `error`. */
  generate(options?: GenerateOptions): Promise<void>;
  /** Acts within a step, and leaves the last preview. */
  abort(): void;
}

const LOADING: State = { status: "loading", progress: 0, images: [] };

/**
 * A model for one component: loaded when it is mounted, freed when it goes, with what it does as state.
 * @param model what `loadPipeline` takes as text: a shipped model's name or a URL
 */
export function useDiffusion(model: string): Diffusion {
  const [state, setState] = useState(LOADING);
  const pipeline = useRef<DiffusionPipeline>(undefined);
  const run = useRef<AbortController>(undefined);

  useEffect(() => {
    const mounted = new AbortController();
    const { signal } = mounted;
    const update = (change: Partial<State>) => {
      if (!signal.aborted) setState((state) => ({ ...state, ...change }));
    };
    async function load() {
      // StrictMode mounts, unmounts and mounts again before this goes on, so that only the second begins to load.
      await Promise.resolve();
      if (signal.aborted) return;
      const pipe = await loadPipeline(model, {
        signal,
        onProgress: (event) => event.type === "download" && update({ progress: event.loaded / event.total }),
      });
      if (signal.aborted) return pipe.dispose();
      pipeline.current = pipe;
      update({ status: "ready", progress: 1 });
    }
    setState(LOADING);
    load().catch((error) => update({ status: "failed", error }));
    return () => {
      mounted.abort();
      run.current?.abort();
      pipeline.current?.dispose();
      pipeline.current = undefined;
    };
  }, [model]);

  const generate = useCallback(async (options: GenerateOptions = {}) => {
    if (!pipeline.current) return;
    run.current?.abort();
    const own = new AbortController();
    run.current = own;
    const { signal } = own;
    const update = (change: Partial<State>) => {
      if (!signal.aborted) setState((state) => ({ ...state, ...change }));
    };
    update({ status: "generating", progress: 0, error: undefined });
    try {
      const { images } = await pipeline.current.generate({
        ...options,
        signal,
        onStep(step) {
          update({ progress: (step.index + 1) / step.of });
          // A read-back for each step: leave it out where nobody looks. It fails only when the run does.
          step.preview().then(
            (images) => update({ images }),
            () => {},
          );
        },
      });
      update({ status: "ready", images });
    } catch (error) {
      update({ status: "failed", error: error as Error });
    }
  }, []);

  const abort = useCallback(() => {
    run.current?.abort();
    setState((state) => (state.status === "generating" ? { ...state, status: "ready" } : state));
  }, []);

  return { ...state, generate, abort };
}
