import { type DiffusionPipeline, type GenerateOptions, loadPipeline, type RgbaImage } from "ddim-webgpu";
import { type MaybeRefOrGetter, readonly, ref, shallowRef, toValue, watch } from "vue";

/**
 * A model for one component: loaded when it is set up, freed when it goes, with what it does as refs.
 * @param model what `loadPipeline` takes as text: a shipped model's name or a URL; another one is loaded when it changes
 */
export function useDiffusion(model: MaybeRefOrGetter<string>) {
  const status = ref<"loading" | "ready" | "generating" | "failed">("loading");
  /** From 0 to 1: of the download, then of the steps. */
  const progress = ref(0);
  /** Previews while it generates, then the pictures. */
  const images = shallowRef<readonly RgbaImage[]>([]);
  const error = shallowRef<Error>();
  let pipeline: DiffusionPipeline | undefined;
  let run: AbortController | undefined;

  function fail(reason: unknown) {
    status.value = "failed";
    error.value = reason as Error;
  }

  async function load(name: string, signal: AbortSignal) {
    status.value = "loading";
    progress.value = 0;
    images.value = [];
    error.value = undefined;
    try {
      const pipe = await loadPipeline(name, {
        signal,
        onProgress(event) {
          if (event.type === "download" && !signal.aborted) progress.value = event.loaded / event.total;
        },
      });
      if (signal.aborted) return pipe.dispose();
      pipeline = pipe;
      status.value = "ready";
    } catch (reason) {
      if (!signal.aborted) fail(reason);
    }
  }

  // Also cleaned up when the component is unmounted.
  watch(
    () => toValue(model),
    (name, _, onCleanup) => {
      const wanted = new AbortController();
      onCleanup(() => {
        wanted.abort();
        run?.abort();
        pipeline?.dispose();
        pipeline = undefined;
      });
      load(name, wanted.signal);
    },
    { immediate: true },
  );

  /** Takes the place of a run that still goes on. Never rejects: what went wrong is `error`. */
  async function generate(options: GenerateOptions = {}) {
    if (!pipeline) return;
    run?.abort();
    run = new AbortController();
    const { signal } = run;
    status.value = "generating";
    progress.value = 0;
    error.value = undefined;
    const show = (pictures: readonly RgbaImage[]) => {
      if (!signal.aborted) images.value = pictures;
    };
    try {
      const generation = await pipeline.generate({
        ...options,
        signal,
        onStep(step) {
          if (!signal.aborted) progress.value = (step.index + 1) / step.of;
          // A read-back for each step: leave it out where nobody looks. It fails only when the run does.
          step.preview().then(show, () => {});
        },
      });
      if (signal.aborted) return;
      show(generation.images);
      status.value = "ready";
    } catch (reason) {
      if (!signal.aborted) fail(reason);
    }
  }

  /** Acts within a step, and leaves the last preview. */
  function abort() {
    run?.abort();
    if (status.value === "generating") status.value = "ready";
  }

  return { status: readonly(status), progress: readonly(progress), images, error, generate, abort };
}
