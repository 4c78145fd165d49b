/** ddim-webgpu/kernels: the kernels and the graph, for those who bring their own network. */

export { type FusedOp, fold } from "../runtime/fold.ts";
export { Graph, type Node, type ParamRef, type WeightSpec } from "../runtime/graph.ts";
export { defineKernel, type Kernel, type KernelCall, type KernelDef, type Target } from "../runtime/kernel.ts";
export { planMemory } from "../runtime/planner.ts";
export { Program } from "../runtime/program.ts";
export { makeValue, type Value } from "../runtime/values.ts";
export { add } from "./add.ts";
export { apply } from "./apply.ts";
export { attention } from "./attention/streaming.ts";
export { codebookLookup } from "./codebook.ts";
export { convFused } from "./conv2d/fused.ts";
export { convGather } from "./conv2d/gather.ts";
export { fillAffine } from "./fill.ts";
export { geglu } from "./geglu.ts";
export { groupNormAffine, groupNormStats } from "./groupNorm.ts";
export { layerNorm } from "./layerNorm.ts";
export { loadRecipes } from "./load.ts";
export { lowerGraph, lowerOps } from "./lower.ts";
export { packWeights } from "./pack.ts";
export { gatherRows } from "./rows.ts";
export { guidanceRescale, thresholdQuantile } from "./sampling/factors.ts";
export { historyStep } from "./sampling/history.ts";
export { initialNoise, pasteKnown, prepareState } from "./sampling/noise.ts";
export { toRgba } from "./sampling/rgba.ts";
export { stateResidual, x0Statistics } from "./sampling/statistics.ts";
export { ddimStep } from "./sampling/step.ts";
export { targetFor } from "./target.ts";
