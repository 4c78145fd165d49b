// From TypeScript 6 on, WebGPU's types are in its own lib "DOM", which @webgpu/types would contradict.
/// <reference lib="dom" />
