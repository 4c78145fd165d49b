/** ddim-webgpu: DDIM sampling on hand-written WebGPU kernels. The browser-safe core; Node adds `ddim-webgpu/node`. */

export { Autoencoder, type AutoencoderOptions, type Decoding, type Encoding } from "./autoencoder/autoencoder.ts";
export { type AutoencoderModel, findAutoencoder, openAutoencoder } from "./autoencoder/open.ts";
export { samplePosterior } from "./autoencoder/posterior.ts";
export { fromSampler, toSampler } from "./autoencoder/scaling.ts";
export { grid } from "./image/grid.ts";
export { readImage } from "./image/lazy.ts";
export { MAX_PIXELS, type ReadOptions } from "./image/limits.ts";
export { encodePng } from "./image/png.ts";
export { readPngText } from "./image/pngText.ts";
export { type Fit, fitImage } from "./image/resize.ts";
export { defaultScale, enlarge, type RgbaImage } from "./image/rgba.ts";
export { fromRgbaImages, toRgbaImages } from "./image/samples.ts";
export type { EditOptions } from "./pipeline/edit.ts";
export type { EvalOptions, EvalTerms } from "./pipeline/evalTerms.ts";
export type { FuseOptions, InterpolateOptions } from "./pipeline/interpolate.ts";
export type { Inversion, InvertOptions, Reconstruction } from "./pipeline/invert.ts";
export { createPipeline, loadPipeline } from "./pipeline/load.ts";
export { type Model, openModel } from "./pipeline/model.ts";
export { modelHash, modelId } from "./pipeline/modelId.ts";
export type { PipelineNetwork } from "./pipeline/network.ts";
export { DiffusionPipeline } from "./pipeline/pipeline.ts";
export type { RecoverOptions } from "./pipeline/recover.ts";
export { type ResolvedRun, resolveRun } from "./pipeline/run.ts";
export { checkSupport, type Support } from "./pipeline/support.ts";
export type { TappedOutput, TapsOptions } from "./pipeline/tapped.ts";
export {
  formatTuning,
  parseTuning,
  type TuningScope,
  type TuningStore,
  type TuningTable,
  tuningHash,
} from "./pipeline/tuningTable.ts";
export type * from "./pipeline/types.ts";
export type { UpscaleOptions } from "./pipeline/upscale.ts";
export type { Device } from "./runtime/device.ts";
export * from "./runtime/errors.ts";
export { openDevice, wrapDevice } from "./runtime/openDevice.ts";
export { chromeTrace, type KernelTiming, summarise } from "./runtime/profiler.ts";
export { addNoise, velocity } from "./sampler/forward.ts";
export type { RuleRow, UpdateRule } from "./sampler/rule.ts";
export { type Denoise, type SampleOptions, type SampleStep, sample } from "./sampler/sample.ts";
export { makeSchedule, type Schedule, type ScheduleOptions, type ScheduleStep } from "./sampler/schedule.ts";
export { slerp } from "./sampler/slerp.ts";
export { fileListSource } from "./weights/files.ts";
export { type PickleOptions, type PickleSource, pickleSource } from "./weights/pickle/lazy.ts";
export { singleFileSource } from "./weights/single.ts";
export type { ModelSource } from "./weights/source.ts";
export { urlSource } from "./weights/url.ts";
export { modelCache } from "./weights/web.ts";
